"""Recordings of single functions: each module answers for one file."""
