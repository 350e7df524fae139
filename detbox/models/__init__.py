"""One file per paper: its parts, then its registered recipe. Importing registers the recipes."""

from detbox.models import dino

__all__ = ["dino"]
