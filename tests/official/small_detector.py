"""Settings of a detector that is soon built."""

SMALL = (
    "backbone=resnet18",
    "backbone.pretrained=false",
    "neck.hidden_dim=32",
    "model.encoder_layers=1",
    "model.decoder_layers=2",
    "model.num_heads=4",
)
