"""Named builders whose signature is their configuration schema.

`@MODELS.register("dino")` stores a builder. Its positional parameters are objects that the
assembler passes in; its keyword-only parameters are the configuration. They become the typed Hydra
option `schema/model/dino`, so a misspelt key or a value of the wrong type fails at composition.
Parts that give or read class scores say which: `@MODELS.register("dino", scores="sigmoid")`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ValidationError

from detbox.errors import SettingError, UnknownNameError
from detbox.messages import near
from detbox.ranges import check_range, range_in

Builder = TypeVar("Builder", bound=Callable[..., Any])
UNIONS = (typing.Union, types.UnionType)
Scores = Literal["sigmoid", "softmax"]
"""each class by itself, or all classes and no object against each other"""


@dataclass(frozen=True)
class Part:
    """A builder and what its maker says of it.

    Args:
        builder: makes the part.
        scores: that it gives or reads; None: it reads none; a registry: as the part of that
            registry which the setting of its kind names.
    """

    builder: Callable[..., Any]
    scores: Scores | Literal["undeclared"] | Registry | None


class Registry:
    """Builders of one kind by name.

    Args:
        kind: of the parts, and what a configuration calls the section of one.
        place: where messages say that a setting is, with `{name}` for the part's name.
    """

    def __init__(self, kind: str, place: str | None = None) -> None:
        self.kind = kind
        self.place = f"{kind}." if place is None else place
        self._parts: dict[str, Part] = {}

    def register(
        self,
        name: str,
        *,
        scores: Scores | Literal["undeclared"] | Registry | None = "undeclared",
    ) -> Callable[[Builder], Builder]:
        """Store the decorated builder under `name` and publish its schema to Hydra.

        Args:
            name: what a configuration calls it.
            scores: as in `Part`; only parts that see class scores, or could, have to say.

        Raises:
            KeyError: the name is taken.
        """

        def store(builder: Builder) -> Builder:
            if name in self._parts:
                raise KeyError(f"{self.kind} {name!r} is registered already; choose another name")
            self._parts[name] = Part(builder, scores)
            schema = _schema(name, builder)
            ConfigStore.instance().store(group=f"schema/{self.kind}", name=name, node=schema)
            return builder

        return store

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._parts)

    def scores(self, config: Mapping[str, Any] | DictConfig) -> Scores | None:
        """The class scores that the part of a configuration gives or reads; None: it reads none.

        Raises:
            KeyError: unknown name.
            ValueError: the part does not say.
        """
        name = str(config["name"])
        declared = self._part(name).scores
        if isinstance(declared, Registry):
            default = inspect.signature(self._part(name).builder).parameters[declared.kind].default
            return declared.scores({"name": config.get(declared.kind, default)})
        if declared == "undeclared":
            raise SettingError(
                f"{self.kind} {name!r} does not say which class scores it expects; register it "
                'with scores="sigmoid" or scores="softmax", or scores=None where it reads none'
            )
        return declared

    def fitting(self, scores: Scores) -> list[str]:
        """What to type for the parts that declare these scores, sorted."""
        found: list[str] = []
        for name in self.names():
            declared = self._parts[name].scores
            if isinstance(declared, Registry):
                found += [
                    f"{name} {self.kind}.{declared.kind}={each}"
                    for each in declared.fitting(scores)
                ]
            elif declared == scores:
                found.append(name)
        return found

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise UnknownNameError(f"unknown {self.kind} {name!r}{near(name, self.names())}")
        return self._parts[name]

    def build(self, config: Mapping[str, Any] | DictConfig, *objects: Any) -> Any:
        """Call the builder that `config["name"]` names with `objects` and the other keys.

        Raises:
            KeyError: unknown name or key; the message names the nearest ones.
        """
        return self.bind(config)(*objects)

    def bind(self, config: Mapping[str, Any] | DictConfig) -> Callable[..., Any]:
        """The builder that `config["name"]` names with the other keys set, not yet called.

        Raises:
            KeyError: unknown name or key; the message names the nearest ones.
            ValueError: a value that is not among a setting's choices, or outside its range.
        """
        settings = _plain(config)
        name = str(settings.pop("name", None))
        self.check(name, settings)
        return partial(self.builder(name), **settings)

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        """Refuse settings that the part of a name does not know, or values that it cannot take.

        Raises:
            KeyError: unknown name or key; the message names the nearest ones.
            ValueError: a value that is not among a setting's choices, or outside its range.
        """
        builder = self.builder(name)
        hints, known = _hints(builder, extras=True), _settings_of(builder)
        for key, value in settings.items():
            if key not in known:
                raise UnknownNameError(
                    f"{self.kind} {name!r} has no setting {key!r}{near(key, known)}"
                )
            place = self.place.format(name=name) + key
            _check_choice(place, value, hints.get(key))
            check_range(place, value, range_in(hints.get(key)))

    def builder(self, name: str) -> Callable[..., Any]:
        """What is registered under a name."""
        return self._part(name).builder

    def settings(self, name: str) -> list[str]:
        """The keys of the configuration of what is registered under a name."""
        return _settings_of(self._part(name).builder)

    def bind_typed(self, config: Mapping[str, Any]) -> Callable[..., Any]:
        """As `bind`, for settings that no schema of Hydra has seen yet.

        Raises:
            ValueError: a value of another type than the signature has.
        """
        self.bind(config)
        builder = self._part(str(config["name"])).builder
        schema = OmegaConf.structured(_schema(str(config["name"]), builder))
        try:
            return self.bind(typing.cast("DictConfig", OmegaConf.merge(schema, dict(config))))
        except ValidationError as error:
            told = str(error).splitlines()[0]
            raise SettingError(
                f"{self.kind} {config['name']!r}: {error.full_key}: {told}"
            ) from None


def _check_choice(key: str, value: Any, hint: Any) -> None:
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if choices and value not in choices:
        raise SettingError(f"{key} has no choice {value!r}{near(str(value), list(choices))}")


def _settings_of(builder: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(builder).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def _schema(name: str, builder: Callable[..., Any]) -> type:
    parameters = inspect.signature(builder).parameters
    hints = _hints(builder)
    fields: list[tuple[str, Any, Any]] = [("name", str, field(default=name))]
    fields += [
        (key, _field_type(hints.get(key, Any)), _default(parameters[key].default))
        for key in _settings_of(builder)
    ]
    return make_dataclass(f"{name}_settings", fields)


def _hints(builder: Callable[..., Any], *, extras: bool = False) -> dict[str, Any]:
    """Types of the settings alone: those of the objects may exist for the type checker only.

    Args:
        builder: of a part.
        extras: with the ranges that they name.
    """
    function = inspect.unwrap(builder.__init__ if inspect.isclass(builder) else builder)
    names = function.__annotations__
    asked = SimpleNamespace(
        __annotations__={key: names[key] for key in _settings_of(builder) if key in names}
    )
    return typing.get_type_hints(asked, globalns=function.__globals__, include_extras=extras)


def _field_type(hint: Any) -> Any:
    """The hint as OmegaConf understands it: tuples become lists, literals their own type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    containers = [each for each in arguments if typing.get_origin(each) is not None]
    if origin in UNIONS and containers and len(set(arguments) - {type(None)}) > 1:
        return Any  # OmegaConf knows no union of a container with something else
    if origin is tuple:
        return list[arguments[0]]  # type: ignore[valid-type]
    if origin is typing.Literal:
        return type(arguments[0])
    return hint


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return field(default=MISSING)
    if isinstance(value, (list, tuple, dict)):
        container = dict(value) if isinstance(value, dict) else list(value)
        return field(default_factory=lambda: container)
    return field(default=value)


def _plain(config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    if not isinstance(config, DictConfig):
        return dict(config)
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise SettingError(f"{missing[0]} is missing; give {missing[0]}=VALUE")
    container = OmegaConf.to_container(config, resolve=True)
    return dict(typing.cast("dict[str, Any]", container))


BACKBONES = Registry("backbone")
NECKS = Registry("neck")
MODELS = Registry("model")
MATCHERS = Registry("matcher")
CLASS_COSTS = Registry("class_cost", "class cost {name}: ")
POSTPROCESSES = Registry("postprocess")
LOSSES = Registry("loss", "loss {name}: ")
PAIR_WEIGHTS = Registry("pair_weight", "criterion.pair_weight.")
DATA = Registry("data")
OPTIMIZERS = Registry("optimizer")
SCHEDULES = Registry("schedule")
TRAINERS = Registry("trainer")
LOGGERS = Registry("logger")
FORMATS = Registry("format")
PLANS = Registry("plan")
ADAPTERS = Registry("adapter")
AUGMENTATIONS = Registry("augmentation", "data.augment, {name}: ")

__all__ = [
    "ADAPTERS",
    "AUGMENTATIONS",
    "BACKBONES",
    "CLASS_COSTS",
    "DATA",
    "FORMATS",
    "LOGGERS",
    "LOSSES",
    "MATCHERS",
    "MODELS",
    "NECKS",
    "OPTIMIZERS",
    "PAIR_WEIGHTS",
    "PLANS",
    "POSTPROCESSES",
    "SCHEDULES",
    "TRAINERS",
    "Registry",
]
