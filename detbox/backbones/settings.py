"""Settings that all backbones have, checked."""

from __future__ import annotations

from detbox.errors import SettingError

PRETRAINED = ("auto", "true", "false")


def check_pretrained(pretrained: str) -> str:
    """The setting `backbone.pretrained` in small letters; YAML's booleans count as words.

    Raises:
        ValueError: it is none of `PRETRAINED`.
    """
    pretrained = str(pretrained).lower()
    if pretrained not in PRETRAINED:
        raise SettingError(
            f"backbone.pretrained is one of {', '.join(PRETRAINED)}; got {pretrained!r}"
        )
    return pretrained


def check_drop_path(drop_path: float) -> None:
    """Refuse a stochastic depth rate outside [0, 1).

    Raises:
        ValueError: it is.
    """
    if not 0 <= drop_path < 1:
        raise SettingError(
            f"backbone.drop_path={drop_path} is outside [0, 1); try 0.2, or 0 for none"
        )
