"""The view makers that have a name."""

VIEWS = {
    "chains": "slvr.pipeline.views.chains:Chains",
    "crops": "slvr.pipeline.views.crops:Crops",
}
"""Name -> `package.module:Class`, imported on use."""
