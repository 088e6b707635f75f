"""What Ctrl-C and a scheduler's SIGTERM do to a run, from the command line; docs/reliability.md says it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from prerlkit.recipe.schema import Recipe
from prerlkit.train.callbacks import StopSignal
from prerlkit.train.run import run


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
    assert f"continues from its last checkpoint, after step 1, with:  prerlkit resume {tmp_path / 'out'}" in done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["exit_reason"] == "stopped"
    assert newest_whole(tmp_path / "out" / "checkpoints", print).position.step == 1
    done = CliRunner().invoke(app, ["resume", str(tmp_path / "out")])
    assert "completed after 4 steps" in done.stdout


@pytest.mark.parametrize("samples", [0, 3])
def test_an_evaluation_that_is_stopped_continues_with_the_prompts_that_are_missing(
    go, same_run, lines, tiny_recipe, tmp_path, monkeypatch, samples
):
    from prerlkit.policy.policy import Policy
    from prerlkit.train.callbacks import SilentCallback

    asked = []
    real = Policy.engine

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        def sync_weights(self):
            return self.inner.sync_weights()

        def close(self):
            self.inner.close()

        def generate(self, prompts, sampling):
            asked.append((sampling.temperature is None, len(prompts)))
            return self.inner.generate(prompts, sampling)

    def wrapped(policy, *args, **options):
        engine, note = real(policy, *args, **options)
        return Counting(engine), note

    monkeypatch.setattr(Policy, "engine", wrapped)
    recipe = tiny_recipe(evaluation={"prompts": 4, "samples": samples, "every": 1})
    go(recipe, tmp_path / "straight")

    class Stopping(SilentCallback):
        """Asks for a stop after two completions of some evaluation."""

        def __init__(self, name, stop):
            self.name, self.stop = name, stop

        def progress(self, what, done, total):
            if what == f"evaluation {self.name}" and done == 2:
                self.stop.request()

    for name in ("before", "step 1", "after warmup"):
        stop = StopSignal()
        summary = run(
            Recipe.model_validate(recipe),
            tmp_path / "parts",
            recipe_folder=None,
            callback=Stopping(name, stop),
            stop=stop,
            existing="resume",
        )
        assert summary.exit_reason == "stopped"
        assert name not in [line["name"] for line in lines(tmp_path / "parts" / "evaluations.jsonl")]
        kept = json.loads((tmp_path / "parts" / "evaluation.part.json").read_text())
        assert (kept["name"], len(kept["groups"]["greedy"])) == (name, 2)
    asked.clear()
    go(recipe, tmp_path / "parts", existing="resume")
    assert asked[0] == (True, 2)
    assert not (tmp_path / "parts" / "evaluation.part.json").exists()
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_sigterm_reaches_an_evaluation_between_two_tokens(tiny_recipe, tmp_path, recipe_text, monkeypatch):
    """An engine that is busy for minutes, and verifiers that are: the run stops within seconds all the same."""
    import threading
    import time

    from typer.testing import CliRunner

    from prerlkit.cli.app import app
    from prerlkit.rollout.hf import HfEngine

    real = HfEngine.generate

    def slow(self, prompts, sampling):
        for number, item in enumerate(real(self, prompts, sampling)):
            if number == 1:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
                for _ in range(6000):
                    time.sleep(0.01)
            yield item

    monkeypatch.setattr(HfEngine, "generate", slow)
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "slow.py").write_text(
        "import time\nfrom prerlkit.verify import Verdict, Verifier\nclass Slow(Verifier):\n    name = 'slow'\n"
        "    needs_answer = False\n    def judge(self, sample):\n        time.sleep(60)\n"
    )
    recipe = recipe_text(tiny_recipe(verifiers=[{"name": "slow", "timeout": 100}]))
    begun = time.monotonic()
    done = CliRunner().invoke(app, ["run", str(recipe), "-o", str(tmp_path / "out"), "--trust"])
    assert done.exit_code == 0, done.stderr
    assert "stopped after 0 steps" in done.stdout
    assert time.monotonic() - begun < 45
    kept = json.loads((tmp_path / "out" / "evaluation.part.json").read_text())
    assert kept["groups"] == {"greedy": {}}  # the one completion has no verdict yet
