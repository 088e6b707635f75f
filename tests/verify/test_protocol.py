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


@pytest.mark.parametrize(
    "message",
    [
        "abcde", 5, None, {}, [1.0, True, "", {}], ["1", True, "", {}, False], [True, True, "", {}, False],
        [2.0, True, "", {}, False], [float("nan"), True, "", {}, False], [1.0, None, "", {}, False],
        [None, True, "", {}, False], [1.0, 1, "", {}, False], [1.0, True, None, {}, False], [1.0, True, "", [], False],
        [1.0, True, "", {}, "no"], [10**400, True, "", {}, False],
    ],
)  # fmt: skip
def test_what_is_no_verdict_counts_as_closed(message: object) -> None:
    """A verifier can write into its worker's pipe: what comes from there is checked where it is read."""
    with pytest.raises(Closed):
        decode_verdict(message)


def test_a_verdict_that_is_too_deep_is_cut_where_it_is_read() -> None:
    details: dict[str, object] = {}
    for _ in range(900):
        details = {"a": details}
    verdict, _ = decode_verdict([1.0, True, "r", details, False])
    assert len(str(verdict.details)) < 300
