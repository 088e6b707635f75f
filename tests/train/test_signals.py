"""What Ctrl-C and a scheduler's SIGTERM do to a run, from the command line; docs/reliability.md says it."""

from __future__ import annotations

import os
import signal

import pytest


def test_sigterm_stops_after_the_step_and_saves(tiny_recipe, tmp_path, recipe_text):
    """As a scheduler's preemption sends it, and as Ctrl-C once."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app
    from prerlkit.cli.render.display import Display

    recipe = recipe_text(tiny_recipe())
    for number in (signal.SIGTERM, signal.SIGINT):
        real, sent = Display.on_step_end, []

        def once(self, record, done, steps, number=number, real=real, sent=sent):
            real(self, record, done, steps)
            if not sent:
                sent.append(1)
                os.kill(os.getpid(), number)

        out = tmp_path / number.name
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Display, "on_step_end", once)
            done = CliRunner().invoke(app, ["run", str(recipe), "-o", str(out)])
        assert done.exit_code == 0
        assert "stopped after 1 steps" in done.stdout
        assert f"prerlkit resume {out}" in done.stdout
        done = CliRunner().invoke(app, ["resume", str(out)])
        assert done.exit_code == 0, done.stderr
        assert "completed after 4 steps" in done.stdout


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_is_whole(tiny_recipe, tmp_path, recipe_text):
    from typer.testing import CliRunner

    from prerlkit.cli.app import app
    from prerlkit.cli.render.display import Display
    from prerlkit.runs.checkpoints import newest_whole

    def twice(self, what, done, total):
        if what == "rollout" and (tmp_path / "out" / "checkpoints" / "step-000001").exists():
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Display, "progress", twice)
        recipe = recipe_text(tiny_recipe(output={"checkpoint_every": 1}))
        done = CliRunner().invoke(app, ["run", str(recipe), "-o", str(tmp_path / "out")])
    assert done.exit_code == 130
    assert "Stopped at once" in done.stderr
    assert newest_whole(tmp_path / "out" / "checkpoints", print).position.step == 1
    done = CliRunner().invoke(app, ["resume", str(tmp_path / "out")])
    assert "completed after 4 steps" in done.stdout
