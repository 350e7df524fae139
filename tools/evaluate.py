"""Evaluate a checkpoint: python tools/evaluate.py --help."""

from detbox.cli import evaluate

if __name__ == "__main__":
    evaluate()
