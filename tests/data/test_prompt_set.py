"""Rows by the million: on disk, a few numbers each in memory, tokens when they are asked for."""

from __future__ import annotations

import errno
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prerlkit.data import spool
from prerlkit.data.prompt_set import AT_ONCE, Drafts, PromptSet, most_tokens
from prerlkit.data.prompts import build
from prerlkit.data.spool import Spool
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.sources import Data

ODD = ["", "a\n\x00b", "\udce9 alone", "日本", {"a": [1, 2.5, None, True, {"b": "c"}]}, float("inf"), 10**40]


def letters(texts: Any) -> list[list[int]]:
    return [[ord(letter) for letter in text] for text in texts]


def prompts(texts: list[str], most: int = 100, tokenize: Any = letters) -> PromptSet:
    drafts = Drafts()
    for number, text in enumerate(texts):
        drafts.append(2 * number, text, str(number), {"text": text})
    return PromptSet("train", drafts, np.arange(len(texts)), tokenize, most)


@pytest.mark.parametrize("in_memory", [1, 1 << 25])
def test_a_spool_gives_back_what_was_appended(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    kept = Spool()
    for number, value in enumerate(ODD):
        kept.append(value)
        assert kept[number] == value  # reading in between moves nothing
    assert [kept[i] for i in range(len(ODD))] == ODD
    assert len(kept) == len(ODD)


def test_a_spool_leaves_no_file_and_says_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = Spool()
    kept.append("x" * 100)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(spool, "MOST_BYTES", 150)
    with pytest.raises(PrerlkitError, match="more than 150 bytes"):
        kept.append("x" * 100)

    class Full:
        def seek(self, place: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept, "_file", Full())
    with pytest.raises(PrerlkitError, match=r"can't be kept in .*No space left") as caught:
        kept.append("x")
    assert "TMPDIR" in caught.value.hint


def test_a_set_is_a_sequence_of_prompts() -> None:
    few = prompts(["a", "bb", "c c"])
    assert [p.id for p in few] == ["train/0", "train/2", "train/4"]
    assert (few[1].text, few[1].token_ids, few[1].answer, few[1].row) == ("bb", (98, 98), "1", {"text": "bb"})
    assert few[-1] == few[2]
    assert few[1:] == tuple(few)[1:]
    assert few == list(few)
    assert few != list(few)[:2]
    with pytest.raises(IndexError):
        few[3]
    chosen = few.take(np.array([2, 0]), "eval")
    assert [(p.id, p.text) for p in chosen] == [("eval/4", "c c"), ("eval/0", "a")]


def test_only_texts_that_could_be_too_long_are_tokenized() -> None:
    asked: list[str] = []

    def counting(texts: Any) -> list[list[int]]:
        asked.extend(texts)
        return letters(texts)

    long = ["x" * 60] * (AT_ONCE + 1)
    few = prompts(["short", "x" * 40, "x" * 41, *long], tokenize=counting)
    found = few.lengths_above(50)
    assert set(asked) == {"x" * 40, "x" * 41, "x" * 60}
    assert found == dict.fromkeys(range(3, 3 + len(long)), 60)


EXPANDING = ["plain", "a b\tc", "ﷺ" * 20 + "a", "é" * 30 + "a", "日本語" * 9 + "a", "İ" * 9 + "a", "\ud800a"]


@pytest.mark.parametrize("text", EXPANDING)
def test_no_normalized_form_has_more_bytes_than_the_bound(text: str) -> None:
    import unicodedata

    forms = [text, text.lower(), *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD"))]
    assert all(len(form.encode("utf-8", "surrogatepass")) <= most_tokens(text) for form in forms)


def test_a_text_without_letter_or_digit_is_always_looked_at() -> None:
    few = prompts(["ok", "  "], tokenize=lambda texts: [[1] if text.strip() else [] for text in texts])
    with pytest.raises(UsageError, match="row train/2: the prompt is empty"):
        few.lengths_above(50)


def test_a_tokenizer_beyond_the_bound_is_found_when_the_prompt_is_used() -> None:
    few = prompts(["ab"], most=50, tokenize=lambda texts: [[7] * 99 for _ in texts])
    assert few.lengths_above(50) == {}
    with pytest.raises(UsageError, match=r"train/0 has 99 tokens, more than rollout.max_prompt_tokens \(50\)"):
        few[0]


def test_the_digest_knows_texts_answers_order_ids_and_tokenizer() -> None:
    texts = [f"t {i}" for i in range(3000)]
    whole = prompts(texts).digest()
    assert whole == prompts(texts).digest()
    changed = [
        prompts([*texts[:-1], "t  2999"]),
        prompts([texts[1], texts[0], *texts[2:]]),
        prompts(texts).take(np.arange(2999)),
        prompts(texts).take(np.arange(3000), "eval"),
        prompts(texts, tokenize=lambda texts: [[*ids, 1] for ids in letters(texts)]),
    ]
    other_answer = prompts(texts)
    other_answer._drafts.contents[7] = prompts(["t 7"])._drafts.contents[0]
    assert len({whole, other_answer.digest(), *(one.digest() for one in changed)}) == 7


def test_a_hundred_thousand_rows_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As objects a tenth of a million took 360 MB (docs/performance.md)."""
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(spool, "IN_MEMORY", 1 << 20)
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        file.writelines(json.dumps({"question": f"word {i} " + "x" * 50, "answer": "1"}) + "\n" for i in range(100_000))
    data = Data.model_validate(
        {
            "train": {"kind": "file", "path": str(rows)},
            "eval": {"kind": "held_out", "rows": 10},
            "chat": False,
        }
    )

    class Letters(PreTrainedTokenizerFast):
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, texts: Any, **_: Any) -> Any:
            self.calls += 1
            return {"input_ids": letters(texts)}

    tokenizer = Letters()
    tracemalloc.start()
    sets = build(data, tokenizer=tokenizer, max_prompt_tokens=200, long_prompts="error", seed=0, folder=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(sets.train), len(sets.eval)) == (99_990, 10)
    assert tokenizer.calls == 0
    assert sets.train[99_989].id == "train/99999"
    assert peak < 40e6
