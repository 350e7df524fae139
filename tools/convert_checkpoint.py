"""Convert official checkpoints both ways: python tools/convert_checkpoint.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("convert_checkpoint")
