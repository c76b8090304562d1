"""The front ends that have a name."""

FRONT_ENDS = {
    "mtslvr": "slvr.pipeline.frontends.mtslvr:MTSLVR",
    "logmel": "slvr.pipeline.frontends.logmel:LogMel",
}
"""Name -> `package.module:Class`, imported on use."""
