"""Weights & Biases. Offline unless `online: true`: then files in the run folder's `wandb/`, for `wandb sync`."""

from __future__ import annotations

from collections.abc import Mapping

from prerlkit.secrets import HIDDEN
from prerlkit.trackers.protocol import Start


class Wandb:
    """A `Tracker` by wandb's own client, told to look at nothing but what it is given."""

    def __init__(self, start: Start) -> None:
        import wandb

        online = bool(start.settings["online"])
        self._run = wandb.init(
            project=str(start.settings["project"]),
            name=start.name,
            group=start.group,
            id=start.id,
            resume="allow" if online else None,  # offline has nothing to ask; `wandb sync` joins parts by their id
            dir=start.folder,
            config=dict(start.config),
            mode="online" if online else "offline",
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,  # command line, user name, folders
                x_disable_stats=True,  # of this process, which isn't the run's
                host=HIDDEN,
                x_save_requirements=False,
                silent=True,
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
