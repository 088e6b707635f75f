"""A base model is told from another one, and from nothing else: not from its float32 copy or another save of it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.identity import base_fingerprint, check_base, difference, read_base, write_base


@pytest.fixture
def saved(make_model, tmp_path):
    """A function that saves a tiny model and gives its folder."""

    def save(name: str, model=None, **options):
        folder = tmp_path / name
        (model or make_model()).save_pretrained(folder, **options)
        return folder

    return save


def test_copies_in_another_precision_or_in_shards_are_the_same_base(saved, make_model):
    one = base_fingerprint(saved("bf16", make_model().to(torch.bfloat16)))
    two = base_fingerprint(saved("f32", make_model().to(torch.bfloat16).float()))
    three = base_fingerprint(saved("shards", make_model().to(torch.bfloat16), max_shard_size="60KB"))
    assert len(one["tensors"]) == 8
    assert one == two == three
    assert "base_model_name_or_path" not in json.dumps(one)


def test_a_change_in_linear_layers_only_is_another_base(saved, make_model):
    """A merged adapter leaves embeddings and norms as they were."""
    model = make_model()
    before = base_fingerprint(saved("before", model))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.add_(0.01)
    assert difference(before, base_fingerprint(saved("after", model))) == "weights"


def test_only_a_config_that_computes_otherwise_differs(saved):
    folder = saved("model")
    before = base_fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_version": "9", "dtype": "bfloat16"}))
    assert difference(before, base_fingerprint(folder)) == ""
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert difference(before, base_fingerprint(folder)) == "config"


def test_weights_of_torch_save_are_read_too(saved, make_model, tmp_path):
    model = make_model()
    folder, other = saved("model", model), tmp_path / "bin"
    other.mkdir()
    shutil.copy(folder / "config.json", other)
    torch.save(model.state_dict(), other / "pytorch_model.bin")
    assert base_fingerprint(folder) == base_fingerprint(other)


def test_an_adapters_base_is_written_down_and_checked(saved, make_model, tmp_path):
    base, other = saved("base"), saved("other", make_model(seed=1))
    assert read_base(tmp_path) is None
    write_base(tmp_path, "user/model", "abc", base)
    recorded = read_base(tmp_path)
    assert (recorded["id"], recorded["revision"]) == ("user/model", "abc")
    names = {"adapter": "runs/a", "base": "user/model"}
    assert check_base(recorded["fingerprint"], base, **names) == ""
    with pytest.raises(PrerlkitError, match="user/model is not the model that runs/a was trained on"):
        check_base(recorded["fingerprint"], other, **names)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert "another config.json" in check_base(recorded["fingerprint"], base, **names)


def test_what_is_no_model_is_said_so(tmp_path, saved):
    with pytest.raises(UsageError, match="not a readable model folder"):
        base_fingerprint(tmp_path)
    folder = saved("model")
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UsageError, match="not a readable model folder"):
        base_fingerprint(folder)
    (tmp_path / "base.json").write_text("{}")
    with pytest.raises(UsageError, match=r"base\.json can't be read"):
        read_base(tmp_path)
