"""The separators that a flag or a checkpoint can name."""

SEPARATORS = {
    "tdcn": "slvr.model.separators.tdcn:TDCN",
}
"""Name -> where its class is; imported on use."""
