"""Draw what a checkpoint finds in pictures: python tools/predict.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("predict")
