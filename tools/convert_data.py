"""Write a data set in another format: python tools/convert_data.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("convert_data")
