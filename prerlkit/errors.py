"""The errors a person is meant to read: one paragraph that says what is wrong and what to do next."""


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
