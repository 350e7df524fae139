"""Which layout a detector or a file has: both are told by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from detbox.backbones.naming import COMPUTED
from detbox.backbones.protocol import described
from detbox.errors import CheckpointError
from detbox.messages import some
from detbox.models.detector import Detector
from detbox.official.registry import LAYOUTS, Layout, Rules, in_order

CONSTANT = re.compile(rf"({'|'.join(COMPUTED)})$|\.norm0\.")
"""official tensors that hold nothing learnt, or that no forward pass reads"""

TOLERATED = 3
"""names that a file may lack, or hold beside those of a layout, and still count as of it"""


def official_names(detector: Detector, layout: str | None = None) -> dict[str, tuple[str, ...]]:
    """Our name -> names in the file, for every tensor that files hold.

    Args:
        detector: of any registered model.
        layout: one that is registered; None: the one that fits best.

    Raises:
        ValueError: a tensor of the detector has no name in the layout.
    """
    chosen = layout or layouts_of(detector)[0]
    names = dict(_backbone_names(detector.backbone, LAYOUTS[chosen]))
    num_layers = _num_layers(detector)
    for name in _own_names(detector):
        names[name] = _renamed(name, LAYOUTS[chosen].rules, num_layers)
        if not names[name]:
            raise CheckpointError(f"{name} has no name in layout {chosen!r}; {_TO_ADD}")
    return names


def constants(detector: Detector, layout: str) -> dict[str, Tensor]:
    """What files of a layout hold beside the tensors of `official_names`, by their names there."""
    named = LAYOUTS[layout].backbone
    return {named(name): each for name, each in described(detector.backbone).constants().items()}


def layouts_of(detector: Detector) -> list[str]:
    """The layouts that name every tensor of a detector, lowest rank first, then fewest idle rules.

    Raises:
        ValueError: there is none.
    """
    own = _own_names(detector)
    fitting = {name: layout for name, layout in LAYOUTS.items() if not _unnamed(own, layout)}
    if fitting:
        return sorted(
            fitting, key=lambda name: (fitting[name].rank, _idle(own, fitting[name]), name)
        )
    unnamed = {name: _unnamed(own, layout) for name, layout in LAYOUTS.items()}
    nearest = min(unnamed, key=lambda name: (len(unnamed[name]), in_order(name)))
    raise CheckpointError(
        f"no official layout names all tensors of this detector; the nearest, {nearest!r}, lacks "
        f"{some(unnamed[nearest])}; {_TO_ADD}"
    )


def detect(stored: Iterable[str]) -> str | None:
    """The layout whose names a file holds; None where it is of no known one."""
    keys = [key for key in stored if not (key.startswith("backbone.") or CONSTANT.search(key))]
    doubts = {name: _doubt(keys, layout.rules) for name, layout in LAYOUTS.items()}
    best = min(doubts, key=lambda name: (sum(doubts[name]), in_order(name)))
    return best if sum(doubts[best]) <= TOLERATED else None


_TO_ADD = (
    "register its table, register_layout(NAME, Layout(RULES)) of detbox.official.registry, in a "
    "file of detbox/official or in a plug-in"
)


def _own_names(detector: Detector) -> list[str]:
    return [name for name in detector.state_dict() if not name.startswith("backbone.")]


def _num_layers(detector: Detector) -> int:
    return sum(1 for _ in detector.decoder.get_submodule("layers").children())


def _unnamed(names: Iterable[str], layout: Layout) -> list[str]:
    return [name for name in names if not _renamed(name, layout.rules, 1)]


def _idle(names: Iterable[str], layout: Layout) -> int:
    hits = (_first_hit(name, layout.rules) for name in names)
    return len(layout.rules) - len({hit[0] for hit in hits if hit})


def _renamed(name: str, rules: Rules, num_layers: int) -> tuple[str, ...]:
    hit = _first_hit(name, rules)
    if hit is None:
        return ()
    index, match = hit
    prefixes = [
        match.expand(template).replace("{layers}", str(num_layers)).replace("{layer}", str(layer))
        for template in rules[index][1]
        for layer in range(num_layers)
    ]
    return tuple(prefix + name[match.end() :] for prefix in dict.fromkeys(prefixes))


def _first_hit(name: str, rules: Rules) -> tuple[int, re.Match[str]] | None:
    hits = ((index, re.match(pattern, name)) for index, (pattern, _) in enumerate(rules))
    return next(((index, match) for index, match in hits if match), None)


def _backbone_names(backbone: nn.Module, layout: Layout) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, officials in described(backbone).official_names().items():
        if not name.endswith(COMPUTED):
            yield f"backbone.{name}", tuple(layout.backbone(each) for each in officials)


def _doubt(keys: list[str], rules: Rules) -> tuple[int, int]:
    """How many keys no template explains, and how many templates explain no key."""
    templates = [_as_pattern(template) for _, each in rules for template in each]
    unexplained = sum(not any(each.match(key) for each in templates) for key in keys)
    idle = sum(not any(each.match(key) for key in keys) for each in templates)
    return unexplained, idle


def _as_pattern(template: str) -> re.Pattern[str]:
    fixed = re.split(r"\\\d|\{layers?\}", template)
    return re.compile(r"\w+".join(re.escape(part) for part in fixed))
