"""Prompt sets: rendering, tokens, held-out rows, overlap, lengths and the notes, with a tokenizer made here."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from prerlkit.data.prompts import PromptSets, build
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Data

CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and no_system %}{{ raise_exception('no system') }}"
    "{% endif %}<{{ m.role }}> {{ m.content }} {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    "{% if think %} think{% endif %}"
)
BOS, UNK, USER, SYSTEM, ASSISTANT = range(5)
WORDS = ["<s>", "<unk>", "<user>", "<system>", "<assistant>", "think"] + [f"w{i}" for i in range(100)]


def tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """One token a word; plain text gets <s> in front, as Llama's do."""
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", unk_token="<unk>")
    made.add_special_tokens({"additional_special_tokens": ["<user>", "<system>", "<assistant>"]})
    made.chat_template = CHAT if chat else None
    return made


def w(number: int) -> int:
    return WORDS.index(f"w{number}")


def rows(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return {"kind": "file", "path": str(path)}


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"question": f"w{i}", "answer": i, "level": i % 3} for i in numbers]


class Kit:
    """`make(train rows, eval rows or a held_out section, data settings…)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, train: list[dict], eval: Any, *, tok: Any = None, most: int = 50, long: Any = "error",
                 seed: int = 0, **data: Any) -> PromptSets:  # fmt: skip
        held = eval if isinstance(eval, dict) else rows(self.folder / "eval.jsonl", eval)
        section = Data.model_validate({"train": rows(self.folder / "train.jsonl", train), "eval": held, **data})
        return build(
            section, tokenizer=tok or tokenizer(), max_prompt_tokens=most, long_prompts=long, seed=seed, folder=None
        )


@pytest.fixture
def make(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_a_chat_prompt_is_rendered_and_tokenized_once_with_one_bos(make: Kit) -> None:
    (prompt,) = make(numbered(7), numbered(8), prompt="w1 {question}").train
    assert prompt.id == "train/0"
    assert prompt.text == "<s><user> w1 w7 <assistant>"
    assert prompt.token_ids == (BOS, USER, w(1), w(7), ASSISTANT)
    assert prompt.answer == "7"
    assert prompt.row == {"question": "w7", "answer": 7, "level": 1}


def test_a_system_prompt_and_template_options_reach_the_template(make: Kit) -> None:
    sets = make(numbered(7), numbered(8), system="w2", template_options={"think": True, "nonsense": 1})
    assert sets.train[0].token_ids == (BOS, SYSTEM, w(2), USER, w(7), ASSISTANT, WORDS.index("think"))
    assert [note for note in sets.notes if "never mentions" in note] == [
        "data.template_options: the chat template never mentions nonsense"
    ]


def test_without_chat_the_text_stands_as_it_is_and_gets_the_tokenizers_own_bos(make: Kit) -> None:
    (prompt,) = make(numbered(7), numbered(8), chat=False, tok=tokenizer(chat=False)).train
    assert (prompt.text, prompt.token_ids) == ("w7", (BOS, w(7)))


def test_chat_without_a_template_says_what_to_set(make: Kit) -> None:
    with pytest.raises(UsageError, match=r"Set data\.chat: false or use an instruct model"):
        make(numbered(7), numbered(8), tok=tokenizer(chat=False))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"chat": False, "system": "w2"}, "data.system goes with data.chat: true"),
        ({"chat": False, "template_options": {"think": True}}, "data.template_options goes with"),
        ({"template_options": {"tokenize": True}}, "tokenize is not the template's"),
        ({"template_options": {"no_system": True}, "system": "w2"}, "(?s)train/0.*no system.*data.system: null"),
        ({"prompt": "{qestion}"}, 'did you mean "question"'),
        ({"answer": "gold"}, 'no column "gold"'),
        ({"filters": [{"column": "level", "equals": 9}]}, "keep none of the 1 train rows"),
    ],
)
def test_what_does_not_go_together_is_refused(make: Kit, data: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(numbered(7), numbered(8), **data)


def test_a_prompt_of_no_tokens_is_refused(make: Kit) -> None:
    raw = tokenizer(chat=False)
    raw.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    with pytest.raises(UsageError, match="row train/0: the prompt is empty"):
        make([{"question": "  ", "answer": 1}], numbered(8), chat=False, tok=raw)


def test_filters_pick_train_rows_and_eval_rows_only_when_asked(make: Kit) -> None:
    rule = {"filters": [{"column": "level", "equals": 0}]}
    sets = make(numbered(0, 1, 2, 3), numbered(4, 6), **rule)
    assert [p.id for p in sets.train] == ["train/0", "train/3"]  # ids are the rows' places in the source
    assert [p.id for p in sets.eval] == ["eval/0", "eval/1"]
    assert "filters left out 2 of 4 train rows" in sets.notes
    sets = make(numbered(0, 1, 2, 3), numbered(4, 6), filter_eval=True, **rule)
    assert [p.id for p in sets.eval] == ["eval/1"]


def test_max_rows_takes_the_first_after_filters(make: Kit) -> None:
    sets = make(numbered(*range(9)), numbered(10), max_rows=2, filters=[{"column": "level", "at_least": 1}])
    assert [p.id for p in sets.train] == ["train/1", "train/2"]


def test_held_out_rows_are_drawn_by_the_seed_and_leave_train(make: Kit) -> None:
    train = numbered(*range(40))
    held = {"kind": "held_out", "rows": 10}
    sets = make(train, held)
    assert len(sets.eval) == 10
    assert len(sets.train) == 30
    assert {p.text for p in sets.eval} | {p.text for p in sets.train} == {
        f"<s><user> w{i} <assistant>" for i in range(40)
    }
    assert all(p.id == f"eval/{p.answer}" for p in sets.eval)
    assert [p.id for p in sets.train] == [f"train/{i}" for i in sorted(int(p.answer or "") for p in sets.train)]
    assert sets.notes == ("train 30 prompts, eval 10, disjoint",)
    assert make(train, held) == sets
    assert {p.id for p in make(train, held, seed=1).eval} != {p.id for p in sets.eval}
    # A larger draw goes on where the smaller one stopped, so the first n stay a fair sample.
    assert make(train, {"kind": "held_out", "rows": 20}).eval[:10] == sets.eval


def test_held_out_rows_come_from_all_rows_unless_eval_is_filtered_too(make: Kit) -> None:
    train, held = numbered(*range(30)), {"kind": "held_out", "rows": 9}
    rule = {"filters": [{"column": "level", "equals": 0}]}
    sets = make(train, held, **rule)
    assert {p.row["level"] for p in sets.train} == {0}
    assert {p.row["level"] for p in sets.eval} == {0, 1, 2}
    sets = make(train, held, filter_eval=True, **rule)
    assert {p.row["level"] for p in sets.eval} == {0}
    assert len(sets.train) == 1  # ten rows have level 0


def test_copies_of_a_held_out_prompt_leave_train_with_it(make: Kit) -> None:
    copies = [{"question": "w1  ", "answer": 1, "level": 1}]  # other white space, same prompt
    sets = make(numbered(1, 2) + copies * 3, {"kind": "held_out", "rows": 1}, seed=1)  # draws w1
    assert [p.id for p in sets.eval] == ["eval/0"]
    assert [p.id for p in sets.train] == ["train/1"]
    assert "3 further rows with a held-out prompt were left out of train" in sets.notes


@pytest.mark.parametrize("count", [2, 3])
def test_holding_out_all_there_is_is_refused(make: Kit, count: int) -> None:
    with pytest.raises(UsageError, match="can't be held out of 2 different prompts"):
        make(numbered(1, 2, 1, 2), {"kind": "held_out", "rows": count})


def test_overlap_is_refused_with_an_example_and_the_count(make: Kit) -> None:
    also = [{"question": "w2 \n", "answer": 2, "level": 0}]
    with pytest.raises(UsageError, match=r"(?s)2 of 3 eval prompts are also in train.*eval/1 is train/1.*w2.*held_out"):
        make(numbered(1, 2, 3), numbered(9) + also + numbered(3))


def test_overlap_is_judged_on_the_rendered_prompt(make: Kit) -> None:
    """The same question under another column's text is another prompt; and rows that a filter drops don't count."""
    assert make(numbered(1), [{"question": "w1", "answer": 1, "level": 8}], prompt="{question} w{level}").notes[-1] == (
        "train 1 prompts, eval 1, disjoint"
    )
    assert len(make(numbered(1, 3), numbered(1), filters=[{"column": "level", "equals": 0}]).train) == 1


def test_repeated_train_prompts_are_allowed_and_noted(make: Kit) -> None:
    sets = make(numbered(1, 2, 1, 1), numbered(3))
    assert len(sets.train) == 4
    assert "2 train prompts repeat an earlier one; each counts as a separate row" in sets.notes


def test_a_long_prompt_is_an_error_that_says_what_to_set(make: Kit) -> None:
    long = [{"question": "w1 w2 w3", "answer": 1, "level": 0}]  # 3 words and 3 tokens of the template
    assert len(make(numbered(1) + long, numbered(3), most=6).train) == 2
    with pytest.raises(
        UsageError, match=r"(?s)1 of 2 train prompts.*\(5\); the longest is train/1 with 6 tokens.*_tokens: 6"
    ):
        make(numbered(1) + long, numbered(3), most=5)
    with pytest.raises(UsageError, match="1 of 1 eval prompts"):
        make(numbered(1), long, most=5)


def test_long_prompts_are_dropped_and_counted(make: Kit) -> None:
    long = [{"question": "w1 w2 w3", "answer": 1, "level": 0}]
    sets = make(numbered(1) + long, numbered(3), most=5, long="drop")
    assert [p.id for p in sets.train] == ["train/0"]
    assert "dropped 1 of 2 train prompts over 5 tokens (the longest: train/1, 6)" in sets.notes
    with pytest.raises(UsageError, match="1 of 1 train prompts are longer"):
        make(long, numbered(3), most=5, long="drop")
