"""vLLM's exceptions as the errors of a run: a refused request, or an engine that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prerlkit.errors import EngineError, UsageError
from prerlkit.rollout.leftovers import leftover_note


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Raise EngineError for any exception within the block: vLLM passes on the exceptions of its parts.

    Args:
        what: the beginning of the message.
    """
    try:
        yield
    except (EngineError, UsageError):
        raise
    except Exception as error:
        raise EngineError(
            f"{what}: {_summary(error)}",
            "Look at the lines above (VLLM_LOGGING_LEVEL=INFO shows more). If memory ran out, lower "
            f"rollout.max_sequences or rollout.vllm.memory_share. {leftover_note()}A run continues from its last "
            "checkpoint with --resume.",
        ) from error


@contextmanager
def refusals() -> Iterator[None]:
    """Raise UsageError where vLLM refuses a request: another engine would refuse it too."""
    from vllm.exceptions import VLLMClientError

    try:
        yield
    except (ValueError, VLLMClientError) as refusal:
        raise UsageError(
            f"vLLM refused a request: {_summary(refusal)}",
            "It depends on the recipe's rollout alone: see max_prompt_tokens, max_new_tokens, top_p and top_k.",
        ) from refusal


def _summary(error: Exception) -> str:
    """Return the line of an error that names the fault; pydantic's first line only counts the following ones."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "validation error" in lines[0] and len(lines) > 1:
        return lines[1].partition(" [type=")[0].strip()
    return lines[0]
