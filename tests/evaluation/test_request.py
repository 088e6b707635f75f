"""One request: the command's options and Python's keywords are its fields; a run's own evaluation draws as it does."""

from __future__ import annotations

import pytest

from prerlkit.cli.eval_options import SIGNATURE
from prerlkit.errors import UsageError
from prerlkit.evaluation.request import EvalRequest, EvalSettings
from prerlkit.recipe.load import load

OF_THE_COMMAND = {"targets", "output", "overwrite", "as_json", "list_presets", "verbose"}
OF_PYTHON = {"columns", "model"}
"""Mappings: the command has options for the keys that people use."""


def test_every_field_is_an_option_with_the_fields_text_and_default():
    assert set(SIGNATURE.parameters) - OF_THE_COMMAND == set(EvalRequest.model_fields) - OF_PYTHON
    untouched = {name: p.default for name, p in SIGNATURE.parameters.items() if name not in OF_THE_COMMAND}
    for name, default in untouched.items():
        field = EvalRequest.model_fields[name]
        assert SIGNATURE.parameters[name].annotation.__metadata__[0].help == field.description, name
        assert field.description, name
        assert default == field.default or (field.default == () and default in ("", None)), name


def test_short_names_and_mappings_say_the_same():
    short = EvalRequest.of({"data": "x.jsonl", "prompt": "{a}", "dtype": "float32"})
    mappings = EvalRequest.of({"data": "x.jsonl", "columns": {"prompt": "{a}"}, "model": {"dtype": "float32"}})
    assert short.data_keys == mappings.data_keys == {"prompt": "{a}"}
    assert short.model_keys == mappings.model_keys == {"dtype": "float32"}
    # A column that is None is said: there is no gold answer. A field that is None is not given.
    assert EvalRequest.of({"columns": {"answer": None}, "answer": None}).data_keys == {"answer": None}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sampels": 1}, 'did you mean "samples"'),
        ({"samples": -1}, "samples: "),
        ({"greedy": False}, "nothing would be done"),
        ({"samples": 2, "majority_at": (3,)}, "k = 3 is more than samples"),
    ],
)
def test_a_wrong_request_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        EvalRequest.of(given)


def test_what_a_request_leaves_open_the_task_decides():
    settings = EvalRequest.of({"samples": 2}).settings(max_new_tokens=7, seed=3)
    assert (settings.max_new_tokens, settings.seed, settings.samples) == (7, 3, 2)
    settings = EvalRequest.of({"max_new_tokens": 9, "seed": 0}).settings(max_new_tokens=7, seed=3)
    assert (settings.max_new_tokens, settings.seed) == (9, 0)


def test_a_run_draws_as_a_later_evaluation_of_it_does():
    recipe = load("smoke", ["evaluation.samples=4", "evaluation.pass_at=[1,2]", "evaluation.temperature=0.5"]).recipe
    own = EvalSettings.of_run(recipe)
    later = EvalRequest.of({"samples": 4, "pass_at": (1, 2), "temperature": 0.5}).settings(
        recipe.evaluation.max_new_tokens or recipe.rollout.max_new_tokens, recipe.seed
    )
    assert list(own.passes()) == list(later.passes())
    assert [kind for kind, _ in own.passes()] == ["greedy", "sampled"]


def test_a_recipe_may_ask_for_no_answers_at_all():
    """It was allowed before: an evaluation then writes down that there is nothing."""
    recipe = load("smoke", ["evaluation.greedy=false", "evaluation.samples=0"]).recipe
    assert list(EvalSettings.of_run(recipe).passes()) == []
