"""What every recipe resolves to, value by value, in `recipe_pins.json`.

`python tests/recipe_pins.py` writes the file anew. It refuses a value that changed under the same
version, so that a number stays the number of the recipe that is said to have given it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

import detbox
from detbox.build import plain
from detbox.runfile import flat

FILE = Path(__file__).with_suffix(".json")
CONF = Path(__file__).parents[1] / "conf" / "experiment"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
BASE = "data=coco"
"""what a recipe's values are stored as differences from"""
ABSENT = "(none)"
FREE = ("ckpt", "init", "resume", "overfit", "objective", "op", "plugins", "recipe", "data.workers")
"""settings that do not decide what is learnt"""
FREE_SECTIONS = ("logger", "callbacks")

Values = dict[str, Any]


def resolved(cfg: DictConfig) -> Values:
    """All settings that decide what a run learns, `section.key` -> value."""
    return {
        key: value
        for key, value in sorted(flat(plain(cfg)))
        if key not in FREE and key.partition(".")[0] not in FREE_SECTIONS
    }


def stored(pins: dict[str, Values], recipe: str) -> Values:
    """The pinned values of a recipe."""
    whole = {**pins[BASE], **pins[recipe]}
    return {key: value for key, value in whole.items() if value != ABSENT}


def faults(pins: dict[str, Values], recipe: str, values: Values) -> list[str]:
    """What is wrong with a recipe's values, and what to do; empty where they are the pinned ones.

    Args:
        pins: content of the file.
        recipe: NAME@VERSION as the recipe itself has it.
        values: that it resolves to now.
    """
    name, _, version = recipe.partition("@")
    if recipe not in pins:
        return [f"{recipe} is not pinned yet: run python tests/recipe_pins.py"]
    then = stored(pins, recipe)
    found = [
        f"{recipe} is not what it was: {key} is {values.get(key, ABSENT)}, was {value}; state the "
        f"old value in conf/experiment/{name}.yaml, or make it {name}@{int(version) + 1} and run "
        "python tests/recipe_pins.py"
        for key, value in then.items()
        if values.get(key, ABSENT) != value
    ]
    new = sorted(values.keys() - then.keys())
    told = f"{recipe} has settings that are not pinned yet: {', '.join(new)}"
    return [*found, *([f"{told}; run python tests/recipe_pins.py"] if new else [])]


def read() -> dict[str, Values]:
    """The file's content."""
    content: dict[str, Values] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def main() -> None:
    """Write the file, unless a value changed under the same version."""
    pins = read() if FILE.is_file() else {}
    base = resolved(detbox.compose(BASE))
    new = {BASE: base}
    for name in NAMES:
        cfg = detbox.compose(f"experiment={name}")
        values = resolved(cfg)
        if wrong := [f for f in faults(pins, cfg.recipe, values) if "is not what it was" in f]:
            sys.exit("\n".join(wrong))
        every = sorted(base.keys() | values.keys())
        whole = {key: values.get(key, ABSENT) for key in every}
        new[cfg.recipe] = {key: each for key, each in whole.items() if base.get(key) != each}
    FILE.write_text(_readable(new), encoding="utf-8")


def _readable(pins: dict[str, Values]) -> str:
    """JSON with one setting a line, so that a difference shows what changed."""
    blocks = (
        f"{json.dumps(recipe)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in values.items())
        + "\n}"
        for recipe, values in pins.items()
    )
    return "{\n" + ",\n".join(blocks) + "\n}\n"


if __name__ == "__main__":
    main()
