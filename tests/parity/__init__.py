"""Replay what the official DINO computed, tensor by tensor, and compare.

`pytest tests/parity --goldens FOLDER` reads a folder of recordings; without the option the compact
set beside this file is used.
"""
