"""Values as Hydra's grammar reads them, and lists of texts that it would not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from detbox.messages import literal, quoted

_ELEMENT = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,])+""")
_QUOTED = re.compile(r"""(^|:)\s*(["'])(.*?)\2\s*(?=:|$)""")


def parsed(text: str) -> Any:
    """What Hydra reads in a value; None: nothing."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return None


def elements(text: str, brackets: str = "[]") -> list[str] | None:
    """The texts of a list that is typed as `[a, "b, c"]`; None: it is none.

    What Hydra reads as other than text, such as 007, is taken letter by letter.
    """
    inner = text.strip()
    if inner[:1] != brackets[0] or inner[-1:] != brackets[1] or len(inner) < 2:
        return None
    value = parsed(text)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return [_QUOTED.sub(r"\1\3", each.strip()) for each in _ELEMENT.findall(inner[1:-1])]


def written(texts: Sequence[str]) -> str:
    """A list that Hydra and OmegaConf read back as it is."""
    return f"[{','.join(quoted(literal(each)) for each in texts)}]"


def written_names(text: str, sweeps: bool) -> str:
    """Names as Hydra's grammar has them: one alone is a list, and it may have any letters.

    A mapping that Hydra would not read becomes a list of OLD:NEW.

    Args:
        text: as typed.
        sweeps: whether it may stand for several values.
    """
    value = parsed(text)
    if sweeps or text == "null" or _is_mapping_of_texts(value):
        return text
    for brackets in ("[]", "{}"):
        if (texts := elements(text, brackets)) is not None:
            return written(texts)
    alone = value if isinstance(value, str) else text
    is_broken = value != alone and ("," in text or text[:1] in ("[", "{"))
    return text if is_broken else written([alone])


def _is_mapping_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, str) for each in (*value, *value.values())
    )
