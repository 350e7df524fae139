"""Evaluate a checkpoint: python tools/evaluate.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("evaluate")
