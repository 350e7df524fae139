"""Completion by the shell: `eval "$(detbox -sc install=bash)"`, also of fish and zsh.

Hydra completes settings, and knows programs without commands; here `detbox COMMAND` is one. Its
function for Bash does not find a program whose path has a blank, so Bash gets one of our own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence

FLAGS = ("-sc", "--shell-completion")
BASH = """\
_detbox() {
    local words
    words=$(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT detbox -sc query=bash)
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _detbox detbox"""
ANY = "train"
"""the command whose settings are completed until one is typed"""


def completed(names: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> str:
    """The command whose settings the shell asks for; empty where the command itself is asked for.

    The command is taken out of the line that Hydra reads.

    Args:
        names: of all commands.
        environment: with the shell's COMP_LINE and COMP_POINT, if it asks.
    """
    line = environment.get("COMP_LINE", "")
    if not line or not any("query=" in each for each in sys.argv):
        return ANY
    program, _, rest = line.partition(" ")
    command, space, settings = rest.lstrip().partition(" ")
    if not space:
        return ""
    environment["COMP_LINE"] = f"{program} {settings}"
    environment["COMP_POINT"] = str(len(environment["COMP_LINE"]))
    return command if command in names else ANY
