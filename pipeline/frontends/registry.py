"""The front ends that a recipe, a flag or a checkpoint can name."""

FRONT_ENDS = {"mtslvr": "slvr.pipeline.frontends.mtslvr:MTSLVR"}
"""Name -> where its class is; imported on use."""
