"""How many threads a run computes with, and the line on a run that became slow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from prerlkit.train import threads
from prerlkit.train.pace import Pace

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that gives `free_cores` of a machine of 8 cores on which others keep some busy for a second."""

    def free(busy_cores: float, quota: str = "max 100000", cores: int = 8) -> int:
        stat, limit = tmp_path / "stat", tmp_path / "cpu.max"
        limit.write_text(quota)
        stat.write_text(f"cpu 0 0 0 {100 * TICKS} 0 0 0 0 0 0\n")
        busy = int(busy_cores * TICKS)
        after = f"cpu {busy} 0 0 {100 * TICKS + cores * TICKS - busy} 0 0 0 0 0 0\n"
        monkeypatch.setattr(threads.time, "sleep", lambda seconds: stat.write_text(after))
        monkeypatch.setattr(threads.time, "process_time", lambda: 0.0)
        monkeypatch.setattr(threads.os, "cpu_count", lambda: cores)
        monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        return threads.free_cores(stat, limit)

    return free


@pytest.mark.parametrize(("busy", "free"), [(0.0, 8), (0.3, 8), (1.0, 7), (6.0, 2), (7.9, 1), (8.0, 1)])
def test_cores_that_others_use_are_left_to_them(machine, busy, free):
    assert machine(busy) == free


def test_a_quota_of_the_control_group_counts(machine):
    assert machine(0.0, "200000 100000") == 2
    assert machine(0.0, "50000 100000") == 1
    assert machine(0.0, "nonsense") == 8


def test_a_system_that_tells_nothing_leaves_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert threads.free_cores(tmp_path / "none", tmp_path / "none", look=0.0) == 3
    (tmp_path / "stat").write_text("intr 5\n")
    assert threads.free_cores(tmp_path / "stat", tmp_path / "none", look=0.0) == 3


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_are_chosen_for_the_block_alone(four_threads, monkeypatch):
    monkeypatch.setattr(threads, "free_cores", lambda: 1)
    with threads.chosen_threads() as note:
        assert torch.get_num_threads() == 1
        assert note.startswith("1 of 4 threads, other programs use the rest")
    assert torch.get_num_threads() == 4
    monkeypatch.setattr(threads, "free_cores", lambda: 8)
    with threads.chosen_threads() as note:
        assert (torch.get_num_threads(), note) == (4, "")


def test_a_run_that_continues_keeps_its_threads(four_threads, monkeypatch):
    monkeypatch.setattr(threads, "free_cores", lambda: 1)
    with threads.chosen_threads(3) as note:
        assert torch.get_num_threads() == 3
        assert note.startswith("3 of 4 threads, as it began")
    with threads.chosen_threads(16):
        assert torch.get_num_threads() == 4


def test_the_users_own_number_stays(four_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(threads, "free_cores", lambda: 1)
    with threads.chosen_threads(2) as note:
        assert (torch.get_num_threads(), note) == (4, "")


def step(seconds, tokens=100):
    return {"time/step": seconds, "tokens/generated": tokens}


def test_a_stage_that_becomes_slow_is_told_once():
    pace = Pace()
    lines = [
        pace.examine("rl", step(seconds), Path("runs/mine")) for seconds in [9, 1, 1, 1, 1, 1, 3.5, 3.5, 3.5, 9, 9]
    ]
    assert [bool(line) for line in lines] == [False] * 7 + [True] + [False] * 3
    assert "3.5 times as long" in lines[7]
    assert lines[7].endswith("`prerlkit resume runs/mine` continues later")
    assert not any(pace.examine("next", step(4), Path("out")) for _ in range(9))


def test_longer_answers_are_not_slowness():
    pace = Pace()
    assert not any(pace.examine("rl", step(n, 100 * n), Path("out")) for n in range(1, 20))
    assert not pace.examine("rl", step(1, 0), Path("out"))
