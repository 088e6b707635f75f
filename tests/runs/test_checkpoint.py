"""Checkpoints hold every optimizer's state, nested 8-bit ones too, and give it back to the bit."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.optimizer import Optimizer
from prerlkit.runs import checkpoint
from prerlkit.runs.checkpoint import Checkpoint, Damaged, Position
from prerlkit.runs.checkpoints import Checkpoints, list_steps, newest_whole
from prerlkit.runs.writer import RunWriter
from prerlkit.train.optim import make_optimizer


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_the_step_after_a_checkpoint_is_the_step_that_would_have_been(tiny_policy, tmp_path, name):
    # 64 × 64 factors are large enough for bitsandbytes to really keep 8-bit states.
    tiny_policy.adapters.fresh("a", Adapter(rank=64), seed=1)
    parameters = tiny_policy.adapters.trainable
    optimizer = make_optimizer(parameters, Optimizer(name=name), 0.01)

    def step(one: torch.optim.Optimizer, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        one.step()
        return torch.cat([parameter.detach().flatten() for parameter in parameters])

    step(optimizer, 1)
    if name != "adamw":
        state = optimizer.state[parameters[0]]
        assert state["state1"].dtype == torch.uint8
    position = Position(stage=1, step=7, seconds=1.5)
    checkpoint.save(tmp_path / "step-000007", position, tiny_policy.adapters, optimizer)
    straight = step(optimizer, 2)
    fresh = make_optimizer(parameters, Optimizer(name=name), 0.01)
    found = Checkpoint.open(tmp_path / "step-000007")
    found.restore_adapter("a", tiny_policy.adapters)
    found.restore_optimizer(fresh)
    assert torch.equal(step(fresh, 2), straight)
    assert found.position == position


@pytest.fixture
def store(tiny_policy, tmp_path):
    """A function that saves checkpoints of the given steps; `best` is a list that holds the best step."""
    tiny_policy.adapters.fresh("a", Adapter(rank=2), seed=1)
    optimizer = make_optimizer(tiny_policy.adapters.trainable, Optimizer(), 0.01)
    best: list[int | None] = [None]
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, best=lambda: best[0], origin={"data": "x"})

    def save(*steps: int):
        for step in steps:
            checkpoints.save(Position(step=step), tiny_policy.adapters, optimizer)
        return tmp_path / "checkpoints"

    save.best, save.policy = best, tiny_policy
    return save


def test_the_newest_two_and_the_best_are_kept(store):
    folder = store(1, 2)
    store.best[0] = 2
    store(3, 4, 5)
    assert list_steps(folder) == [2, 4, 5]
    store.best[0] = 5
    store(6)
    assert list_steps(folder) == [5, 6]


def test_the_order_is_that_of_the_steps_whatever_the_clock_says(store):
    import os

    folder = store(9, 1000000)
    os.utime(folder / "step-1000000", (0, 0))
    notes: list[str] = []
    assert newest_whole(folder, notes.append).position.step == 1000000
    assert notes == []


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: flip(f / "adapter.a.safetensors"), "adapter.a.safetensors is not what was written"),
        (lambda f: flip(f / "optimizer.safetensors"), "optimizer.safetensors is not what was written"),
        (lambda f: (f / "optimizer.safetensors").write_bytes(b""), "optimizer.safetensors is not what was written"),
        (lambda f: (f / "adapter.a.safetensors").unlink(), "adapter.a.safetensors is missing"),
        (lambda f: (f / "checksums.json").unlink(), "checksums.json is missing"),
        (lambda f: (f / "checksums.json").write_text("{"), "its JSON is not what was written"),
        (lambda f: (f / "checksums.json").write_text("[]"), "its JSON is not what was written"),
        (lambda f: (f / "checksums.json").write_text("{}"), "has no checksum"),
        (lambda f: flip(f / "state.json"), "state.json is not what was written"),
        (lambda f: (f / "state.json").write_bytes(b"\xff" * 9), "state.json is not what was written"),
    ],
)
def test_a_torn_or_tampered_checkpoint_is_named_and_the_one_before_is_used(store, damage, said):
    folder = store(1, 2)
    damage(folder / "step-000002")
    with pytest.raises(Damaged, match=said):
        Checkpoint.open(folder / "step-000002")
    notes: list[str] = []
    assert newest_whole(folder, notes.append).position.step == 1
    assert len(notes) == 1
    assert "step-000002" in notes[0]
    assert said in notes[0]
    assert "resuming from step-000001" in notes[0]


def test_with_no_whole_checkpoint_left_each_is_named(store):
    folder = store(1, 2)
    for step in (1, 2):
        flip(folder / f"step-{step:06d}" / "state.json")
    with pytest.raises(PrerlkitError, match=r"step-000002.*step-000001") as error:
        newest_whole(folder, print)
    assert "--overwrite" in error.value.hint


def test_what_a_killed_process_was_writing_is_swept_away(store):
    folder = store(1)
    (folder / ".step-000002.4242").mkdir()
    (folder / ".step-000001.4242.old").mkdir()
    (folder.parent / ".recipe.yaml.4242").touch()
    (folder.parent / "recipe.yaml").touch()
    assert newest_whole(folder, print).position.step == 1
    RunWriter(folder.parent).create("resume")
    assert [path.name for path in folder.iterdir()] == ["step-000001"]
    assert not list(folder.parent.glob(".recipe*"))


def test_an_adapter_that_is_not_finite_is_never_saved(store):
    folder = store(1)
    with torch.no_grad():
        store.policy.adapters.trainable[0].fill_(float("nan"))
    with pytest.raises(PrerlkitError, match='stage "a" holds weights that are not finite at step 2'):
        store(2)
    assert list_steps(folder) == [1]
    assert newest_whole(folder, print).position.step == 1


def test_a_disk_that_is_full_while_a_checkpoint_is_written_leaves_the_one_before(store, monkeypatch):
    folder = store(1)

    def full(tensors, path):
        path.write_bytes(b"half of it")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        store(2)
    assert [path.name for path in folder.iterdir()] == ["step-000001"]
    assert newest_whole(folder, print).position.step == 1


def test_nothing_in_a_checkpoint_is_pickled(store):
    folder = store(1)
    assert {path.suffix for path in (folder / "step-000001").iterdir()} == {".json", ".safetensors"}
