"""The view makers that a recipe or a flag can name."""

VIEWS = {"chains": "slvr.pipeline.views.chains:Chains"}
"""Name -> where its class is; imported on use."""
