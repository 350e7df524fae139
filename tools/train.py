"""Train a detector: python tools/train.py --help."""

from detbox.cli import train

if __name__ == "__main__":
    train()
