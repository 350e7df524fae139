"""List what would hurt a training on a data set: python tools/check_data.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("check_data")
