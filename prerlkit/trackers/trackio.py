"""trackio: a database on this machine (TRACKIO_DIR, else the Hugging Face cache); with `space`, a Space on the Hub."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prerlkit.trackers.protocol import Start

_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""What would send it over the network although the recipe doesn't say so. This process is the tracker's own."""


class Trackio:
    """A `Tracker` by trackio's client, without its own watch on the machine."""

    def __init__(self, start: Start) -> None:
        space = start.settings["space"]
        if space is None:
            for name in _ELSEWHERE:
                os.environ.pop(name, None)
        import trackio

        self._trackio = trackio
        trackio.init(
            project=str(start.settings["project"]),
            name=start.id,  # trackio continues a run by its name
            group=start.group,
            space_id=space,
            config=dict(start.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        self._trackio.finish()
