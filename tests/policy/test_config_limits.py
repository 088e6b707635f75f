"""A config.json of absurd sizes ends in one message, before anything of that size is computed or allocated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import source
from prerlkit.policy.base import load_base
from prerlkit.policy.blank import blank_base, text_config
from prerlkit.policy.config_limits import check_config
from prerlkit.recipe.model import Model

ABSURD = {
    "huge width": {"hidden_size": 10**9},
    "negative width": {"hidden_size": -4},
    "text": {"hidden_size": "big"},
    "a fraction": {"intermediate_size": 35.5},
    "true": {"num_attention_heads": True},
    "a list": {"num_hidden_layers": [[4]]},
    "a billion layers": {"num_hidden_layers": 10**9},
    "5,000 digits": {"vocab_size": 10**4_000},
    "inside": {"text_config": {"n_layer": 10**9}},
    "positions": {"max_position_embeddings": -1},
}
USELESS = {
    "no heads": {"num_attention_heads": 0},
    "no vocabulary": {"vocab_size": 0},
    "heads that don't divide": {"num_attention_heads": 3, "num_key_value_heads": 2},
    "text in another place": {"rms_norm_eps": "small"},
    "rope is a list": {"rope_parameters": [1]},
    "unknown activation": {"hidden_act": "\x1b[31m"},
    "unknown kind": {"model_type": "none"},
}


def changed(tiny_model: Path, folder: Path, changes: dict) -> str:
    shutil.copytree(tiny_model, folder)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    return str(folder)


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_where_a_model_is_found_and_where_it_is_planned(tiny_model, tmp_path, name):
    path = changed(tiny_model, tmp_path / "model", ABSURD[name])
    model = Model(id=path)
    for use in (source.resolve, lambda model: blank_base(path, model, "cpu"), lambda _: text_config(path)):
        with pytest.raises(UsageError, match=r"config\.json: \w+.* is .*, not a whole number from 0 to") as error:
            use(model)
        assert len(error.value.message) < 400


@pytest.mark.parametrize("name", USELESS)
def test_sizes_that_do_not_fit_together_are_one_message(tiny_model, tmp_path, name):
    """Whatever transformers' classes raise for them, in planning, in loading or in both."""
    path = changed(tiny_model, tmp_path / "model", USELESS[name])
    model = Model(id=path, dtype="float32")
    errors = []
    for use in (lambda: blank_base(path, model, "cpu"), lambda: load_base(path, model, torch.device("cpu"))):
        try:
            use()
        except PrerlkitError as error:
            errors.append(error.message)
    assert errors
    assert not any("\n" in message for message in errors)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", '"x"', '{"hidden_size": ' + "9" * 5_000 + "}"])
def test_what_is_no_config_is_one_message(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        check_config(tmp_path)


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=r"1,099,511,627,776 bytes"):
        check_config(tmp_path)


def test_published_configs_pass():
    files = list((Path(prerlkit.__file__).parent / "plan" / "configs").glob("*.json"))
    assert len(files) > 3
    for file in files:
        check_config(file)


def test_sizes_for_each_layer_and_absent_ones_pass(tmp_path):
    sizes = {"intermediate_size": [8, 16, None, 0], "n_inner": None, "num_experts": 0, "vision": {"num_heads": [3, 6]}}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    check_config(tmp_path)
