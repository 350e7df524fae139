"""Draw what a checkpoint finds in pictures: python tools/predict.py --help."""

from detbox.cli import predict

if __name__ == "__main__":
    predict()
