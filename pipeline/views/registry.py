"""The view makers that have a name."""

VIEWS = {"chains": "slvr.pipeline.views.chains:Chains"}
"""Name -> `package.module:Class`, imported on use."""
