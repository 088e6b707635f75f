"""A tracker's own process: reads one JSON message a line, answers each with a line, ends with its input.

What the tracker's libraries print goes to stderr, which is a file of the run folder; stdout has answers only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from prerlkit.trackers.protocol import Start, Tracker
from prerlkit.trackers.tensorboard import TensorBoard
from prerlkit.trackers.trackio import Trackio
from prerlkit.trackers.wandb import Wandb

KINDS: Mapping[str, Callable[[Start], Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "trackio": Trackio}


def serve(kind: str, messages: TextIO, answers: TextIO) -> None:
    """Open a tracker with the first message, pass the others on."""
    tracker: Tracker | None = None
    for line in messages:
        message = json.loads(line)
        try:
            if tracker is None:
                tracker = KINDS[kind](Start(**message))
            else:
                _pass_on(tracker, message)
        except Exception as error:  # noqa: BLE001 -- whatever a tracker raises is reported and ends the tracker only
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            answers.flush()
            return
        answers.write("{}\n")
        answers.flush()
        if "close" in message:
            return
    if tracker is not None:
        with contextlib.suppress(Exception):
            tracker.close(failed=True)  # the run was killed


def _pass_on(tracker: Tracker, message: dict[str, Any]) -> None:
    if "close" in message:
        tracker.close(message["close"])
    else:
        tracker.log(message["step"], message["values"])


def main() -> None:
    """`python -m prerlkit.trackers.child KIND`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin, answers)


if __name__ == "__main__":
    main()
