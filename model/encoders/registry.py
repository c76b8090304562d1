"""The encoders that a recipe, a flag or a checkpoint can name."""

ENCODERS = {
    "resnet18": "slvr.model.encoders.resnet18:ResNet18",
    "efficientnet-b0": "slvr.model.encoders.efficientnet:EfficientNet",
    "cnn14": "slvr.model.encoders.cnn14:CNN14",
}
"""Name -> where its class is; imported on use."""
