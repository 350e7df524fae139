"""Compute a run's first bad step again: python tools/replay.py BUNDLE; --help tells more."""

from detbox.cli import main

if __name__ == "__main__":
    main("replay")
