"""Parts of a detector that stay as they are: `freeze=[backbone,encoder]`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detbox.errors import SettingError
from detbox.messages import counted, near, some


def part_names(given: object) -> tuple[str, ...]:
    """What a person gave as one name, a list of names, or nothing."""
    if given is None:
        return ()
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(map(str, given))
    return (str(given),)


def freeze_parts(detector: nn.Module, names: Sequence[str]) -> None:
    """Let no parameter of these modules learn.

    Args:
        detector: of any model.
        names: of its modules, `encoder` or `decoder.layers.0`.

    Raises:
        SettingError: there is no such module, or nothing else is left.
    """
    modules = dict(detector.named_modules())
    for name in names:
        if not name or name not in modules:
            parts = [each for each, part in detector.named_children() if list(part.parameters())]
            raise SettingError(f"freeze={name}: the detector has no such part{near(name, parts)}")
        modules[name].requires_grad_(False)
    if names and not any(each.requires_grad for each in detector.parameters()):
        raise SettingError(f"freeze=[{','.join(names)}] leaves nothing to learn; name fewer parts")


def told(detector: nn.Module, names: Sequence[str]) -> str:
    """One line on what is frozen, and how much learns."""
    sizes = [(each.numel(), each.requires_grad) for each in detector.parameters()]
    learns = sum(size for size, learnt in sizes if learnt)
    whole = counted(sum(size for size, _ in sizes), "parameter")
    return f"frozen: {some(names, 9)}; {learns} of {whole} learn"
