"""Errors that a person can mend: the text says what was expected, what came, and the next step.

The command line ends in that text for these alone; every other exception is a bug and keeps its
traceback. Each is also the built-in kind that a caller in Python would expect.
"""

from __future__ import annotations


class DetboxError(Exception):
    """What a person can mend; its text is written for that person."""


class SettingError(DetboxError, ValueError):
    """A setting or an argument that cannot be used."""


class UnknownNameError(DetboxError, KeyError):
    """A name that nothing is registered under."""

    def __str__(self) -> str:
        """The text as it is; a `KeyError` would quote it."""
        return str(self.args[0]) if self.args else ""


class DataError(DetboxError, ValueError):
    """Annotations or pictures that cannot be used."""


class CheckpointError(DetboxError, ValueError):
    """A file of weights that cannot be used."""


class MissingFileError(DetboxError, FileNotFoundError):
    """A file or a folder that is not there."""


class MachineError(DetboxError, RuntimeError):
    """What this machine or its environment lacks."""


class DivergedError(DetboxError, RuntimeError):
    """A training whose numbers are no longer finite."""


class NotLearntError(DetboxError, RuntimeError):
    """A detector that does not know the few pictures that it was trained on."""
