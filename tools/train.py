"""Train a detector: python tools/train.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("train")
