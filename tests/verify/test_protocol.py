"""Frames survive any text, and a pipe that is closed, silent or garbled is told apart from one that speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.pipe import (
    Closed,
    Pipe,
    WorkerTimedOut,
    decode_sample,
    decode_verdict,
    encode,
    encode_sample,
    encode_verdict,
)


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, int, int]]:
    """A pipe that reads what is written to the second value; the third is its read end."""
    read_fd, write_fd = os.pipe()
    yield Pipe(read_fd, os.dup(write_fd)), write_fd, read_fd
    os.close(read_fd)


def test_a_sample_and_a_verdict_come_back_as_they_were(ends: tuple[Pipe, int, int]) -> None:
    pipe, write_fd, _ = ends
    sample = VerifierInput("p\ud800", "c\x00é", None, {"a": [1, {"b": None}]}, True, 7)
    verdict = Verdict(0.5, False, "r", {"k": [1]})
    os.write(write_fd, encode_sample(sample) + encode_verdict(verdict, error=True))
    assert decode_sample(pipe.receive(1)) == sample
    assert decode_verdict(pipe.receive(1)) == (verdict, True)


def test_half_a_frame_is_waited_for_and_kept(ends: tuple[Pipe, int, int]) -> None:
    pipe, write_fd, _ = ends
    frame = encode({"a": 1})
    os.write(write_fd, frame[:6])
    with pytest.raises(WorkerTimedOut):
        pipe.receive(0.01)
    os.write(write_fd, frame[6:])
    assert pipe.receive(1) == {"a": 1}


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xffxxxx", b"\x00\x00\x00\x03{{{"])
def test_gibberish_counts_as_closed(ends: tuple[Pipe, int, int], data: bytes) -> None:
    pipe, write_fd, _ = ends
    os.write(write_fd, data)
    with pytest.raises(Closed):
        pipe.receive(1)


def test_writing_to_nobody_and_to_a_sleeper_end(ends: tuple[Pipe, int, int]) -> None:
    pipe, _, _ = ends
    with pytest.raises(WorkerTimedOut):
        pipe.send([b"x" * 10_000_000], 0.05)
    read_fd, write_fd = os.pipe()
    other = Pipe(os.open(os.devnull, os.O_RDONLY), write_fd)
    os.close(read_fd)
    with pytest.raises(Closed):
        other.send([b"x"], 1)
    other.close()
