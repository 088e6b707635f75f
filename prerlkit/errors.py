"""The errors a person is meant to read: one paragraph that says what is wrong and what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class PrerlkitError(Exception):
    """A failure with advice. The command line prints it without a traceback and exits with `exit_code`.

    Args:
        message: what went wrong, naming the thing (file, line, key, model id).
        hint: what to do next, one sentence or two.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(PrerlkitError):
    """What was asked for is wrong: a recipe, an option, a path. Exit code 2."""

    exit_code = 2


class EngineError(PrerlkitError):
    """A rollout engine failed: it didn't start, it died, its server is out of reach or answers with an error."""


class CanaryError(PrerlkitError):
    """The rollout engine does not hold the policy that is being trained."""


class ShownElsewhereError(PrerlkitError):
    """This process ends because another one of its run failed and has said why: nothing is printed."""


class StoppedNowError(KeyboardInterrupt):
    """A second signal stopped a run at once. Its text is for a person: the command that continues the run."""


def joined(errors: Sequence[PrerlkitError]) -> PrerlkitError:
    """One error that says all of `errors`, of the first one's kind; a hint that several share is said once."""
    if len(errors) == 1:
        return errors[0]
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    return type(errors[0])("\n".join(error.message for error in errors), "\n".join(hints))
