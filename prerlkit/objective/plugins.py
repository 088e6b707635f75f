"""A loss or an advantage from a file: one class each, named in a recipe as `path/to/file.py:Name`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from prerlkit import settings as _settings
from prerlkit.errors import PrerlkitError
from prerlkit.objective.choices import FileAdvantage, FileLoss
from prerlkit.plugins import make

if TYPE_CHECKING:
    from torch import Tensor

    from prerlkit.objective.loss import TokenTerms


class _FileFunction:
    """A class that a recipe names by its file.

    Class attributes:
        Settings: a frozen pydantic class, a subclass of `prerlkit.settings.Settings`; the recipe's `settings`.
    """

    Settings: ClassVar[type[_settings.Settings]] = _settings.Settings

    def __init__(self, settings: _settings.Settings) -> None:
        self.settings = settings


class LossFunction(_FileFunction, ABC):
    """A loss of the policy. KL, entropy, importance weights and the coefficient are added to it as to any other."""

    @abstractmethod
    def token_losses(self, terms: TokenTerms) -> tuple[Tensor, Tensor]:
        """Return the loss of each token, and 1.0 where a bound acted on it, else 0.0. [N], [N]

        The kit multiplies both by `terms.weights_N` and sums; don't divide by anything here.
        """


class AdvantageFunction(_FileFunction, ABC):
    """From the rewards of one group to one signed number for each sample."""

    @abstractmethod
    def advantages(self, rewards: Sequence[float], passed: Sequence[bool]) -> Sequence[float]:
        """Return the advantage of each sample, in order. Unjudged samples are left out before.

        A group whose rewards are all equal has no signal: return exactly 0.0 for it, or its samples carry gradient.
        """


def loss_function(choice: FileLoss, key: str = "loss") -> LossFunction:
    """Return the loss that `choice` names. Raises UsageError, naming file, line and `key`."""
    made: LossFunction = make(choice.kind, choice.settings, LossFunction, key)
    return made


def advantage_function(choice: FileAdvantage, key: str = "advantage") -> AdvantageFunction:
    """Return the advantage that `choice` names. Raises UsageError, naming file, line and `key`."""
    made: AdvantageFunction = make(choice.kind, choice.settings, AdvantageFunction, key)
    return made


def file_losses(choice: FileLoss, terms: TokenTerms) -> tuple[Tensor, Tensor]:
    """Return what the file's loss gives. Raises PrerlkitError for another shape than [N]."""
    losses_N, bounded_N = loss_function(choice).token_losses(terms)
    expected = terms.logprobs_N.shape
    if losses_N.shape != expected or bounded_N.shape != expected:
        raise PrerlkitError(
            f"{choice.kind}: token_losses gave shapes {list(losses_N.shape)} and {list(bounded_N.shape)} for "
            f"{list(expected)} tokens.",
            "Return one loss and one 0.0 or 1.0 for each token.",
        )
    return losses_N, bounded_N


def file_advantages(choice: FileAdvantage, rewards: Sequence[float], passed: Sequence[bool]) -> list[float]:
    """Return what the file's advantage gives. Raises PrerlkitError for another number of them."""
    if not rewards:
        return []
    values = [float(value) for value in advantage_function(choice).advantages(rewards, passed)]
    if len(values) != len(rewards):
        raise PrerlkitError(
            f"{choice.kind}: advantages gave {len(values)} numbers for {len(rewards)} samples.",
            "Return one for each reward, in order.",
        )
    return values
