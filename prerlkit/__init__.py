"""prerlkit: reinforcement learning with verifiable rewards, in pre-train space and out of it, on one consumer GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prerlkit.api import compare_runs, evaluate, load_policy, load_run, run
    from prerlkit.publish.export import export
    from prerlkit.publish.merge import merge
    from prerlkit.publish.push import push

__version__ = "0.1.0"
__all__ = ["__version__", "compare_runs", "evaluate", "export", "load_policy", "load_run", "merge", "push", "run"]

_API = "prerlkit.api"
_LAZY = {
    **dict.fromkeys(("run", "load_run", "load_policy", "evaluate", "compare_runs"), _API),
    **{name: f"prerlkit.publish.{name}" for name in ("merge", "export", "push")},
}
"""Public functions and the modules they are in: importing prerlkit loads none of them."""


def __getattr__(name: str) -> Any:
    """PEP 562: the public functions, imported when they are first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if _LAZY[name] == _API:  # it imports no library, and its functions silence those that they use
        return getattr(import_module(_API), name)
    from prerlkit.quiet import quieted, quietly

    with quieted():  # libraries also print while they are imported
        return quietly(getattr(import_module(_LAZY[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
