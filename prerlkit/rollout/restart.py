"""An engine that survives the death of its inner engine: it restarts that one once and keeps the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prerlkit.errors import EngineError, PrerlkitError
from prerlkit.rollout.protocol import RolloutEngine, Sampling, WeightSync
from prerlkit.types import Completion, Prompt


class RestartingEngine:
    """A `RolloutEngine` around another.

    When the inner engine fails during a batch, it is closed, made again, given the policy, and asked for the
    completions that are still missing. Their draws are a function of seed, prompt and sample, so they are the same. A
    second failure in the same batch ends the run: two failures in a row are no accident.

    Args:
        make: starts an engine.
        report: called with a line about each restart.
    """

    def __init__(self, make: Callable[[], RolloutEngine], report: Callable[[str], None]) -> None:
        self._make = make
        self._report = report
        self._engine: RolloutEngine | None = make()

    def sync_weights(self) -> WeightSync:
        """Load the policy, in a new engine if the old one is dead."""
        try:
            return self._running().sync_weights()
        except Exception as error:
            if _final(error):
                raise
            return self._restart(error)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`."""
        seen: set[tuple[int, int]] = set()
        try:
            yield from self._missing(prompts, sampling, seen)
        except Exception as error:
            if _final(error):
                raise
            self._restart(error)
            try:
                yield from self._missing(prompts, sampling, seen)
            except PrerlkitError:
                raise
            except Exception as again:
                raise _died(again) from again

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _missing(
        self, prompts: Sequence[Prompt], sampling: Sampling, seen: set[tuple[int, int]]
    ) -> Iterator[tuple[int, int, Completion]]:
        """Yield the completions that are not in `seen`, and add them to it: none is yielded twice."""
        left = [i for i in range(len(prompts)) if any((i, s) not in seen for s in range(sampling.samples))]
        for place, sample, completion in self._running().generate([prompts[i] for i in left], sampling):
            if (left[place], sample) not in seen:
                seen.add((left[place], sample))
                yield left[place], sample, completion

    def _running(self) -> RolloutEngine:
        if self._engine is None:
            raise RuntimeError("this engine is closed")
        return self._engine

    def _restart(self, error: Exception) -> WeightSync:
        self._report(f"the rollout engine died ({type(error).__name__}: {error}); starting it again, once")
        try:
            self._running().close()
        except Exception as closing:  # noqa: BLE001 -- it is dead; what it held goes with it
            self._report(f"it could not be closed properly: {type(closing).__name__}: {closing}")
        self._engine = None
        try:
            self._engine = self._make()
            return self._engine.sync_weights()
        except PrerlkitError:
            raise
        except Exception as again:
            raise _died(again) from again


def _final(error: Exception) -> bool:
    """Return whether a restart can't help: an error for the user, other than the death of an engine."""
    return isinstance(error, PrerlkitError) and not isinstance(error, EngineError)


def _died(error: Exception) -> PrerlkitError:
    import torch  # here: recipes are checked without loading it

    ran_out = isinstance(error, torch.OutOfMemoryError)
    what = (
        "Memory ran out: continue with --resume and a lower rollout.max_sequences"
        if ran_out
        else "Look at the memory and at the lines above, then continue with --resume"
    )
    return PrerlkitError(
        f"The rollout engine died twice in a row: {type(error).__name__}: {error}.",
        f"All finished steps are saved. {what}; -v shows where it happened.",
    )
