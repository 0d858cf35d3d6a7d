"""What the pipelines' augmentation has in common."""

__all__ = ["PADDING"]

PADDING = 4  # pixels on each side, for the random crops of `augment`
