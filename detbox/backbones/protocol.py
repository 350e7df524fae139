"""What detbox asks of a backbone, and the answers of one that has nothing special to say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from detbox.backbones.naming import Names, unchanged
from detbox.errors import DetboxError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class WeightsUnavailableError(DetboxError, RuntimeError):
    """No pretrained weights where they are needed; the message says what to do."""


@runtime_checkable
class Backbone(Protocol):
    """An image encoder: what a detector reads of it, and how it gets its weights.

    `BackboneModule` has answers to all but the first two; `described` gives a module of any other
    kind those that it lacks.
    """

    channels: tuple[int, ...]
    """of each map, fine to coarse"""
    strides: tuple[int, ...]
    """of each map, in input pixels per cell"""
    mean: tuple[float, ...]
    """that pixels in [0, 1] lose"""
    std: tuple[float, ...]
    """by which they are divided then"""
    size_divisor: int
    """the maps are those of the picture padded to multiples of it"""
    model: str
    """for messages"""
    weights_file: str | None
    """`backbone.weights`"""
    pretrained: str
    """`backbone.pretrained`: auto, true or false"""
    published: bool
    """whether a hub is known to have weights"""
    reads_all: bool
    """Whether it has all stages of its model. If not, a file's further blocks may be its own."""

    def __call__(self, pixels: Tensor, /) -> Sequence[Tensor]:
        """(B, 3, H, W) normalised pixels to one (B, C, h, w) map per stride."""

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name."""

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over these tensors, by our names; others stay."""

    def official_names(self) -> Names:
        """Our name -> names in the authors' detectors, below their `backbone.0.`."""

    def constants(self) -> dict[str, Tensor]:
        """What the authors' detectors hold beside those by their names, never learnt."""

    def namings(self) -> dict[str, Names]:
        """Names under which a weights file may come, by what messages call the naming."""

    def may_lack(self, name: str) -> bool:
        """Whether a weights file need not hold this tensor of ours."""

    def left_by_design(self) -> Collection[str]:
        """Names in files of this very model that have no tensor here, such as a classifier's."""

    def adapted(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """A file of a rarer kind in one of the namings; None where nobody can tell."""

    def fetch(self) -> str:
        """Fill from published weights; returns where they were.

        Raises:
            WeightsUnavailableError: there are none, or they are out of reach.
        """


ANSWERS = [name for name in (*Backbone.__annotations__, *vars(Backbone)) if name[0] != "_"]
"""what a backbone may say of itself"""


class BackboneModule(nn.Module):
    """A module that answers as most backbones do: names are its own, and no hub has weights."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    size_divisor = 1
    model = "of your own"
    weights_file: str | None = None
    pretrained = "auto"
    published = False
    reads_all = True

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name."""
        return self.state_dict()

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over these tensors; others stay."""
        self.load_state_dict(tensors, strict=False)

    def official_names(self) -> Names:
        """Every name for itself."""
        return unchanged(self.tensors())

    def constants(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def namings(self) -> dict[str, Names]:
        """Its own names, as a saved backbone has them."""
        return {"detbox backbone": unchanged(self.tensors())}

    def may_lack(self, name: str) -> bool:
        """Nothing may be absent."""
        return False

    def left_by_design(self) -> Collection[str]:
        """Nothing is."""
        return ()

    def adapted(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Nobody can."""
        return None

    def fetch(self) -> str:
        """Refuse.

        Raises:
            WeightsUnavailableError: always.
        """
        raise WeightsUnavailableError("no hub is known to have them")


class Described(BackboneModule):
    """A module of another kind: its own answers, and those of `BackboneModule` where it has none.

    Args:
        module: with channels and strides.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._held = (module,)  # no submodule of this one: names stay as they are
        self.model = type(module).__name__
        for name in ANSWERS:
            answer: Any = getattr(module, name, None)
            if answer is not None and not isinstance(answer, nn.Module):  # it may hold a `model`
                setattr(self, name, answer)

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        """As the module."""
        maps: Sequence[Tensor] = self._held[0](pixels)
        return maps

    def tensors(self) -> dict[str, Tensor]:
        """The module's state by name."""
        return self._held[0].state_dict()

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Let the module take over these tensors; others stay."""
        self._held[0].load_state_dict(tensors, strict=False)

    def fetch(self) -> str:
        """Nothing: what it holds is from whoever built it."""
        return "its builder"


def described(module: nn.Module) -> Backbone:
    """A module that answers everything itself, or one that answers for a module of another kind.

    Args:
        module: as a builder returned it.
    """
    return module if isinstance(module, Backbone) else Described(module)
