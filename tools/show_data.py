"""Draw annotated pictures and what training makes of them: python tools/show_data.py --help."""

from detbox.cli import main

if __name__ == "__main__":
    main("show_data")
