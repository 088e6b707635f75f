"""The order of prompts is a pure function of seed and position."""

import pytest

from prerlkit.data.stream import PromptStream
from prerlkit.types import Prompt

PROMPTS = [Prompt(f"train/{i}", str(i), (i,)) for i in range(7)]


def ids(prompts: list[Prompt]) -> list[int]:
    return [prompt.token_ids[0] for prompt in prompts]


def test_unshuffled_runs_in_order_across_epochs() -> None:
    assert ids(PromptStream(PROMPTS, 0, False).batch(5, 12)) == [5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2]


def test_each_epoch_holds_every_prompt_once_in_its_own_order() -> None:
    stream = PromptStream(PROMPTS, 3, True)
    first, second = ids(stream.batch(0, 7)), ids(stream.batch(7, 7))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second
    assert first != list(range(7))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_batches_of_any_size_are_pieces_of_one_sequence(size: int) -> None:
    """So that a run resumed at a position goes on as if it had never stopped."""
    whole = ids(PromptStream(PROMPTS, 3, True).batch(0, 24))
    pieces = [i for start in range(0, 24, size) for i in ids(PromptStream(PROMPTS, 3, True).batch(start, size))]
    assert pieces[:24] == whole


def test_seeds_differ_and_are_pinned() -> None:
    """The pinned order guards against a change of the scheme: resumed runs would repeat and skip prompts."""
    assert ids(PromptStream(PROMPTS, 0, True).batch(0, 7)) == PINNED
    assert ids(PromptStream(PROMPTS, 1, True).batch(0, 7)) != PINNED
    assert ids(PromptStream(PROMPTS, -1, True).batch(0, 7)) != PINNED


def test_nothing_to_stream_or_a_negative_position_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PromptStream([], 0, True)
    with pytest.raises(ValueError, match="negative"):
        PromptStream(PROMPTS, 0, True).batch(-1, 2)
    assert PromptStream(PROMPTS, 0, True).batch(3, 0) == []


PINNED = [5, 4, 0, 1, 3, 2, 6]
