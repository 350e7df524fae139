"""detbox: train DETR-family detectors."""
