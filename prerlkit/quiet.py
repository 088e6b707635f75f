"""Keep libraries' own chatter out of a run's output; `-v` lets it in."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LOGGERS = ("bitsandbytes", "transformers", "datasets", "huggingface_hub", "peft", "torch")


def quiet_libraries() -> None:
    """Silence progress bars, advice and deprecation notices of the libraries underneath. Errors still show."""
    quiet_imports()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def quiet_imports() -> None:
    """Silence what libraries print while they are imported. Imports none of them: for commands that may need none."""
    _set_environment()
    warnings.filterwarnings("ignore")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _set_environment() -> None:
    """Set what libraries read when they are imported, which also resets their loggers' levels."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("HF_HUB_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")


def quietly(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` with libraries silenced while it works."""

    @functools.wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        with quieted():
            return function(*args, **kwargs)

    return quiet


@contextmanager
def quieted(wanted: bool = True) -> Iterator[None]:
    """Call `quiet_libraries` for a block of a program that is not ours, and restore what it had set."""
    if not wanted:
        yield
        return
    _set_environment()
    import transformers

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    bars = transformers.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        try:
            quiet_libraries()
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                transformers.logging.enable_progress_bar()
