"""`detbox COMMAND …`: answers what needs nothing at once, and hands the rest to Hydra."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import version

from detbox.completion import BASH, FLAGS, completed

COMMAND = "DETBOX_COMMAND"
"""names the command in the processes that Lightning starts, which get the other arguments"""
HELP = ("-h", "--help")


def main(name: str | None = None) -> None:
    """Run a command of the table.

    Args:
        name: of the command; None: the first argument.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _main(name)
    except KeyboardInterrupt:  # while the imports go on
        sys.exit(130)


def _main(name: str | None) -> None:
    if "--version" in sys.argv[1:]:
        print(f"detbox {version('detbox')}")
        return
    if name is None and sys.argv[1:2] and sys.argv[1] in FLAGS and "install=bash" in sys.argv:
        print(BASH)
        return
    # Here, not above: the version needs nothing that the table of commands imports.
    from detbox.commands.table import COMMANDS
    from detbox.launch import launch, prepare
    from detbox.usage import of_command, overview

    if name is None and sys.argv[1:2] and sys.argv[1] in FLAGS:
        prepare(None)
        name = completed(COMMANDS.names())
        if not name:
            print(" ".join(COMMANDS.names()))
            return
    chosen = name or _named()
    prepare(chosen)
    if chosen is None:
        print(overview())
        return
    if any(each in HELP for each in sys.argv[1:]):
        print(of_command(chosen))
        return
    os.environ[COMMAND] = chosen
    launch(chosen)


def _named() -> str | None:
    """The command among the arguments, or the one that this process was started for."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        return sys.argv.pop(1)
    asked = not arguments or arguments[0] in HELP
    return None if asked else os.environ.get(COMMAND, arguments[0])
