"""The view makers that have a name."""

VIEWS = {
    "chains": "slvr.pipeline.views.chains:Chains",
    "crops": "slvr.pipeline.views.crops:Crops",
    "channels": "slvr.pipeline.views.channels:Channels",
}
"""Name -> `package.module:Class`, imported on use."""
SPEC_AUGMENT = {"spec_augment": "slvr.pipeline.views.spectra:SpecAugmented"}
"""What stands behind a view maker, in the same form."""
