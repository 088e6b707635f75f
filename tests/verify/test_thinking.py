"""What counts as an answer next to a thought in think tags."""

from __future__ import annotations

import time

import pytest

from prerlkit.verify.thinking import after_thinking, opens_thinking


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("The answer is 7.", "The answer is 7."),
        ("", ""),
        ("I think 7 < 8", "I think 7 < 8"),
        ("<think>5</think>7", "7"),
        ("<think>5</think>\nSo 7.\n", "\nSo 7.\n"),
        ("<THINK>5</Think>7", "7"),
        ("<thinking>5</thinking>7", "7"),
        ("5</think>7", "7"),  # the chat template has opened it in the prompt
        ("<think>5</think>6<think>6</think>7", "7"),
        ("<think>5 <think>6</think>7", "7"),
        ("<think>5</think>6</think>7", "7"),
        ("6<think>5</think>", ""),
        ("<think>5", None),
        ("<think>5</think>7<think>wait", None),
        ("6</think>7<think>", None),
        ("<think>", None),
        ("</think>", ""),
    ],
)
def test_the_last_think_tag_decides(text, after):
    assert after_thinking(text) == after


@pytest.mark.parametrize(
    ("prompt", "text", "after"),
    [
        ("<|assistant|><think>\n", "5", None),
        ("<|assistant|><think>\n", "5</think>7", "7"),
        ("<|assistant|><think>\n\n</think>\n\n", "7", "7"),  # thinking switched off, as Qwen3's template does it
        ("Put your thought into <think> tags.", "7", "7"),
    ],
)
def test_a_thought_that_the_prompt_opens_has_to_be_closed(prompt, text, after):
    assert after_thinking(text, prompt) == after
    assert opens_thinking(prompt) == (prompt.rstrip()[-7:] == "<think>")


def test_the_time_grows_with_the_text_only():
    def seconds(pattern: str, length: int) -> float:
        """Of this process's own work, the least of three: what else the machine does is not in it."""
        text = pattern * (length // len(pattern))
        took = []
        for _ in range(3):
            begun = time.process_time()
            after_thinking(text)
            took.append(time.process_time() - begun)
        return min(took)

    for pattern in ("<", "<think>", "</think"):
        # Ten times the text: ten times the time; a quadratic search would take a hundred times.
        assert seconds(pattern, 1_000_000) < 40 * seconds(pattern, 100_000) + 0.01
