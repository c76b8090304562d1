"""The objectives that a recipe, a flag or a checkpoint can name."""

OBJECTIVES = {
    "simclr": "slvr.model.objectives.simclr:SimCLR",
    "simsiam": "slvr.model.objectives.simsiam:SimSiam",
    "mlap": "slvr.model.objectives.mlap:MLAP",
    "augself": "slvr.model.objectives.augself:AugSelf",
    "k22": "slvr.model.objectives.k22:K22",
    "cola": "slvr.model.objectives.k22:COLA",
    "cola_frame": "slvr.model.objectives.k22:ClipFrame",
    "scenes": "slvr.model.objectives.scenes:Scenes",
}
"""Name -> where its class is; imported on use."""
