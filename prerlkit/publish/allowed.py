"""Checks whether a run's model may run the code that comes with it."""

from __future__ import annotations

from prerlkit.runs.trained import TrainedRun
from prerlkit.trust import of_model, require


def allow_model(trained: TrainedRun, base: str | None, trust: bool) -> None:
    """Check that the user has allowed the code of a run's model, if its recipe sets `trust_remote_code`.

    Args:
        base: another place of the model, where the user names one.

    Raises:
        UsageError: not allowed; it names the code and the flag.
    """
    model = trained.model if base is None else trained.model.model_copy(update={"id": base})
    require(of_model(model), trained.recipe_folder, trust)
