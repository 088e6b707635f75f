"""The interface of an engine: its limits, the memory that it takes on the trainer's device, and its start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prerlkit import settings as _settings
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.types import Prompt

if TYPE_CHECKING:
    from prerlkit.policy.policy import Policy
    from prerlkit.recipe.schema import Recipe

WEIGHTS, CACHE, OTHER = "engine weights", "engine KV cache", "engine overhead"
KINDS = frozenset({WEIGHTS, CACHE, OTHER})
"""Kinds of bytes in `Reservation`: another process's, so that the trainer's allocator loses nothing between them."""


@dataclass(frozen=True, slots=True)
class EngineContext:
    """The inputs with which an engine is started.

    Attributes:
        prompts: of the training set; a canary scores them.
        model: the folder of the base's files.
        on_message: receives lines for the log.
        rank: of this process. With several servers each process begins at a different server.
    """

    recipe: Recipe
    policy: Policy
    prompts: Sequence[Prompt]
    model: Path
    on_message: Callable[[str], None]
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """The device that an engine shares with the trainer.

    Attributes:
        config: of the model, transformers'.
        weights: bytes of the model in 16 bit, whatever the trainer's are.
        kind: `cuda` or `cpu`.
        memory: bytes of the device.
        free: of them, once the trainer has loaded its base.
    """

    config: Any
    weights: int
    kind: str
    memory: int
    free: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Bytes of an engine by kind.

    Attributes:
        rollout: while it samples, in addition to the trainer's resident bytes.
        training: while the trainer works and the engine sleeps.
        at_once: sequences of full length that its cache holds; 0 where it isn't on this device.
        total: bytes that it is started with.
        problem: why the engine would not start with these bytes; empty where it would.
        host: bytes of the host's memory that it pins while it sleeps.
        unpacked: bytes of the 16-bit copy of a 4-bit base that is made in the host's memory and written to disk before
            the engine starts; 0 where it serves other weights.
    """

    rollout: Mapping[str, int] = field(default_factory=dict)
    training: Mapping[str, int] = field(default_factory=dict)
    at_once: float = 0.0
    total: int = 0
    problem: str = ""
    host: int = 0
    unpacked: int = 0


class Engine(ABC):
    """One way to sample. A new engine is one file with a subclass of this, and a line in `recipe.rollout.ENGINES`.

    The file imports torch and the rooms of recipe and policy only inside functions or for types: it is imported
    while a recipe that names it is checked. An engine from `path/to/file.py:Name` may import what it likes.

    Class attributes:
        name: what a recipe calls it.
        Settings: a frozen pydantic class. `rollout.engine_settings` is checked by it where a file holds the engine.
        in_process: it samples from the trainer's own model: its bytes are traced, not reserved, and a run with it is
            exact to the byte on a CPU. Otherwise `reserve` returns its bytes.
        copies: it holds a copy of the weights, synchronized before each rollout.
        install: packages that it needs and the versions it was tested with; `prerlkit doctor` shows them.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[_settings.Settings]] = _settings.Settings
    in_process: ClassVar[bool] = False
    copies: ClassVar[bool] = True
    install: ClassVar[Mapping[str, str]] = {}

    def __init__(self, settings: _settings.Settings | None = None) -> None:
        self.settings = settings if settings is not None else self.Settings()

    def check(self, recipe: Recipe) -> None:  # noqa: B027 -- most engines take any recipe
        """Raise ValueError with a message for the user if the engine would refuse the recipe later."""

    def check_installed(self, recipe: Recipe) -> None:  # noqa: B027
        """Raise UsageError where this machine lacks what the engine needs. A dry run doesn't call this."""

    def check_processes(self, recipe: Recipe, processes: int) -> None:  # noqa: B027
        """Raise UsageError where that many training processes can't use the engine."""

    def reserve(self, recipe: Recipe, shared: Shared) -> Reservation:
        """Return the bytes that the engine takes on the trainer's device; the default is none."""
        return Reservation()

    @abstractmethod
    def make(self, context: EngineContext) -> RolloutEngine:
        """Start the engine. Called before there is an adapter: a canary begins at the bare base.

        Raises:
            UsageError: it isn't available here, or a server doesn't fit the recipe.
            EngineError: it didn't start, or a server is out of reach.
            CanaryError: its base is not the policy's.
        """
