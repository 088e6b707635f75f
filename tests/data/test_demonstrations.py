"""From rows, messages or an evaluation's passed samples to demonstrations, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from prerlkit.data.demonstrations import build_demonstrations, passed_texts
from prerlkit.data.prompts import PromptSets
from prerlkit.errors import UsageError
from prerlkit.policy.tokens import Tokens, answer_end
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.jsonl import group_line
from prerlkit.types import Completion, Group, Prompt, Verdict

CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
CHAT += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
END = 9


class Tokenizer:
    """A token for each byte of a text; `ab` is one token, so that a token may cross the border of an answer."""

    chat_template, eos_token_id = CHAT, END

    def get_chat_template(self) -> str:
        return CHAT

    def apply_chat_template(self, turns, **options) -> str | list[str]:
        from jinja2 import Template

        if isinstance(turns[0], list):
            return [self.apply_chat_template(each, **options) for each in turns]
        return Template(CHAT).render(messages=turns, **options)

    def encode(self, text, *, add_special_tokens=False) -> list[int]:
        return [END if c == "$" else ord(c) for c in text.replace("<|im_end|>", "$").replace("ab", "\x01")]

    def __call__(self, texts, *, add_special_tokens, verbose) -> dict:
        begin = [2] if add_special_tokens else []
        return {"input_ids": [begin + self.encode(text) for text in texts]}


def recipe(demonstrations: dict, chat: bool = False, **stage) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "model": {"id": "a/b"},
            "data": {
                "train": {"kind": "file", "path": "train.jsonl"},
                "eval": {"kind": "held_out", "rows": 1},
                "chat": chat,
            },
            "verifiers": [{"name": "math"}],
            "rollout": {"prompts_per_step": 2, "max_new_tokens": 8, "temperature": 0.7, "group_size": 4},
            "stages": [
                {
                    "name": "start",
                    "objective": "sft",
                    "steps": 3,
                    "learning_rate": 1e-3,
                    "demonstrations": demonstrations,
                    **stage,
                }
            ],
        }
    )


def prompt(number: int, text: str, **row) -> Prompt:
    return Prompt(f"train/{number}", text, (2, *text.encode()), None, row)


SETS = PromptSets(
    (prompt(0, "p0", how="x", answer="1"), prompt(1, "p1", how="yy", answer="2")), (prompt(7, "held"),), ()
)


def build(demonstrations: dict, *, folder: Path | None = None, sets: PromptSets = SETS, chat=False, **stage):
    """(prompt, its tokens, answer, its tokens) of each demonstration, and the notes."""
    made, notes = build_demonstrations(
        recipe(demonstrations, chat, **stage), sets, tokenizer=Tokenizer(), end_id=END, folder=folder
    )
    groups = made["start"]
    assert all(g.verdicts[0].passed and not g.completions[0].logprobs for g in groups)
    return [
        (g.prompt.text, g.prompt.token_ids, g.completions[0].text, g.completions[0].token_ids) for g in groups
    ], notes


def rows(folder: Path, *lines: dict) -> dict:
    path = folder / "demos.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"source": {"kind": "file", "path": str(path)}}


def test_a_column_of_the_recipes_own_rows_is_the_answer_and_the_end_token_is_appended():
    found, notes = build({"completion": "{how}={answer}"})
    assert found == [
        ("p0", (2, *b"p0"), "x=1", (*b"x=1", END)),
        ("p1", (2, *b"p1"), "yy=2", (*b"yy=2", END)),
    ]
    assert "2 demonstrations, 9 tokens of answers; 3 steps of 2 are 3 passes" in notes[-1]


def test_rows_of_their_own_have_their_own_prompt_and_leave_eval_out(tmp_path):
    lines = [{"q": "held", "completion": "no"}, {"q": "new", "completion": "yes"}, {"q": "odd", "completion": "yes"}]
    rule = [{"column": "q", "matches": "held|new"}]
    found, notes = build({**rows(tmp_path, *lines), "prompt": "{q}", "filters": rule})
    assert [(text, answer) for text, _, answer, _ in found] == [("new", "yes")]
    assert any("left out 1 of 2 demonstrations, whose prompts are in eval" in note for note in notes)


def test_the_last_message_is_the_answer_and_those_before_it_the_prompt(tmp_path):
    turns = [("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
    data = {"talk": [{"role": role, "content": content} for role, content in turns]}
    ((text, _, answer, ids),), _ = build({**rows(tmp_path, data), "messages": "talk"}, chat=True)
    assert answer == "b"
    assert ids == (ord("b"), END)
    assert text.endswith("<|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\n")
    assert "<|im_start|>assistant\na<|im_end|>" in text


def test_a_token_across_the_border_makes_the_answer_tokenized_alone():
    sets = PromptSets((prompt(0, "xa", completion="bc"),), (), ())
    found, _ = build({}, sets=sets)
    assert found[0][1] == (2, *b"xa")  # as the prompt is tokenized everywhere else
    assert found[0][3] == (*b"bc", END)


def test_an_answer_that_ends_with_the_end_token_gets_no_second_one():
    sets = PromptSets((prompt(0, "p", completion="c<|im_end|>"),), (), ())
    assert build({}, sets=sets)[0][0][3] == (ord("c"), END)


def samples(folder: Path, *groups: tuple[str, str, list[tuple[str, bool | None, bool]]]) -> str:
    lines = []
    for kind, text, own in groups:
        completions = tuple(Completion((1,), answer, (-1.0,), truncated=cut) for answer, _, cut in own)
        verdicts = tuple(Verdict.unjudged("crashed") if p is None else Verdict.of(p) for _, p, _ in own)
        lines.append({"kind": kind, **group_line(Group(Prompt("eval/3", text, (1,)), completions, verdicts))})
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_passed_completions_of_an_evaluation_are_demonstrations_each_once(tmp_path):
    path = samples(
        tmp_path,
        ("greedy", "p0", [("good", True, False)]),
        ("sampled", "p0", [("bad", False, False), ("good", True, False), ("two", True, False), ("six", True, False)]),
        ("sampled", " p1 ", [("cut", True, True), ("odd", None, False)]),
        ("sampled", "else", [("good", True, False)]),
    )
    found, notes = build({"samples": path, "per_prompt": 2})
    assert [(text, answer) for text, _, answer, _ in found] == [("p0", "good"), ("p0", "two")]
    assert any("1 of 2 train prompts have a passed completion" in note for note in notes)
    assert passed_texts(Path(path), 9)["p0"] == ["good", "two", "six"]


@pytest.mark.parametrize(
    ("demonstrations", "stage", "message"),
    [
        ({"completion": "{how}"}, {}, r"2 of 3 rows have no answer in \{how\}: rows train/1, train/2"),
        ({"completion": "{hw}"}, {}, 'demonstrations.completion: row train/0 has no column "hw"; did you mean "how"'),
        (
            {"completion": "{answer}"},
            {"rollout": {"max_new_tokens": 3}},
            r"1 of 3 answers are longer than the stage's rollout.max_new_tokens \(3\).*row train/1 with 5 tokens",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_its_rows(demonstrations, stage, message):
    bad = (
        prompt(0, "p0", how="x", answer="1"),
        prompt(1, "p1", how=" ", answer="long"),
        prompt(2, "p2", how=None, answer="3"),
    )
    with pytest.raises(UsageError, match=message):
        build(demonstrations, sets=PromptSets(bad, (), ()), **stage)


def test_long_answers_are_dropped_with_their_number_where_the_recipe_allows_it():
    sets = PromptSets((prompt(0, "p0", completion="1"), prompt(1, "p1", completion="1234")), (), ())
    found, notes = build({"long_answers": "drop"}, sets=sets, rollout={"max_new_tokens": 3})
    assert [text for text, *_ in found] == ["p0"]
    assert any("dropped 1 of 2 answers over 3 tokens (the longest: row train/1, 5)" in note for note in notes)
    with pytest.raises(UsageError, match="2 of 2 answers are longer"):
        build({"long_answers": "drop"}, sets=sets, rollout={"max_new_tokens": 1})


def test_files_that_hold_no_demonstrations_are_refused(tmp_path):
    with pytest.raises(UsageError, match="has no rows"):
        build({**rows(tmp_path), "prompt": "{q}"})
    with pytest.raises(UsageError, match="is an eval prompt"):
        build({**rows(tmp_path, {"q": "held", "completion": "a"}), "prompt": "{q}"})
    with pytest.raises(UsageError, match=r"row demonstrations/0, column \"talk\" is no list"):
        build({**rows(tmp_path, {"talk": "hi"}), "messages": "talk"}, chat=True)
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(UsageError, match="1 of 1 rows have no answer in talk: row demonstrations/0"):
        build({**rows(tmp_path, {"talk": turns}), "messages": "talk"}, chat=True)
    with pytest.raises(UsageError, match=r"goes with data\.chat: true"):
        build({**rows(tmp_path, {"talk": []}), "messages": "talk"})
    with pytest.raises(UsageError, match="none of the 2 train prompts"):
        build({"samples": samples(tmp_path, ("sampled", "else", [("a", True, False)]))})
    with pytest.raises(UsageError, match=r"no completion in .* passed and came to its end"):
        build({"samples": samples(tmp_path, ("sampled", "p0", [("a", False, False)]))})
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="line 1: not a line of an evaluation"):
        build({"samples": str(tmp_path / "other.jsonl")})


@pytest.mark.parametrize(
    ("demonstrations", "stage", "message"),
    [
        ({}, {"objective": "grpo"}, '"start" has demonstrations, which have no rewards'),
        (None, {}, '"start" learns from demonstrations .objective: sft., and has none: add `demonstrations'),
        ({}, {"objective": ["sft", "grpo"]}, "has demonstrations, which have no rewards"),
        ({}, {"objective": {"preset": "sft", "samples": "negative"}}, "leaves out every demonstration"),
        ({}, {"rollout": {"temperature": 0.5}}, "sets rollout.temperature, which is for sampling"),
        ({}, {"rollout": {"group_size": 8}}, "sets rollout.group_size, which is for sampling"),
        ({}, {"guard": {}}, "has a guard, which compares pass rates"),
        ({"samples": "a", "completion": "{x}"}, {}, "completion does not go with `samples`"),
        ({"prompt": "{x}"}, {}, "prompt does not go with the recipe's own rows"),
        ({"source": {"kind": "file", "path": "a"}, "per_prompt": 2}, {}, "per_prompt does not go with `source`"),
        (
            {"source": {"kind": "file", "path": "a"}, "messages": "m", "completion": "{x}"},
            {},
            "messages hold both prompt and answer",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(demonstrations, stage, message):
    with pytest.raises(ValidationError, match=message):
        recipe(demonstrations, **stage)


def test_a_supervised_stage_has_no_keys_of_sampling_and_reads_back_as_it_is_written():
    made = recipe({"completion": "{how}"})
    rollout = made.stages[0].rollout
    assert (rollout.group_size, rollout.temperature, rollout.importance, rollout.prompts_per_step) == (1, 1.0, None, 2)
    assert made.rollout.temperature == 0.7
    assert Recipe.model_validate(made.model_dump(mode="json", by_alias=True)) == made


@pytest.mark.parametrize(
    ("ends", "chat", "eos", "end"),
    [((END, 40), True, 40, END), ((40,), True, 40, 40), ((END, 40), False, 40, 40), ((40, 41), False, None, 40)],
)
def test_an_answer_ends_with_the_templates_end_token_else_with_eos(ends, chat, eos, end):
    tokenizer = Tokenizer()
    tokenizer.eos_token_id = eos
    assert answer_end(Tokens(tokenizer, ends, None), chat=chat, options={}) == end
