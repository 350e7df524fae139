"""Convert official checkpoints both ways: python tools/convert_checkpoint.py --help."""

from detbox.cli import convert_checkpoint

if __name__ == "__main__":
    convert_checkpoint()
