"""A run prints which layers get an adapter, and which weights get none and why."""

from __future__ import annotations

from pathlib import Path

import architectures_table as table
import architectures_trial as trial
import pytest

from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Adapter, Model


@pytest.fixture
def written(tmp_path, make_tokenizer):
    """A function that writes a row of the table and gives its folder."""

    def write(name: str) -> Path:
        (row,) = (row for row in table.ROWS if row.name == name)
        table.write(row, tmp_path / "model", make_tokenizer())
        return tmp_path / "model"

    return write


def described(folder: Path, **settings) -> list[str]:
    model = Model(id=str(folder), dtype="float32", device="cpu")
    policy = load_policy(str(folder), model, read_tokens(str(folder), model))
    return list(policy.adapters.describe(Adapter(rank=2, alpha=4.0, **settings)))


def test_fused_experts_are_named_with_their_share_and_the_reason(written):
    adapted, left_out = described(written("Qwen3-MoE"))
    assert adapted == "adapters on 8 linear layers: k_proj, o_proj, q_proj, v_proj"
    assert "experts.down_proj, experts.gate_up_proj" in left_out
    assert (
        "% of the parameters): they are no linear layers, and PEFT adapts such weights only where they are" in left_out
    )


def test_a_tower_for_images_gets_no_adapter_although_its_layers_have_the_same_names(written):
    """Gemma 3's tower has `q_proj` too: by last names alone PEFT would adapt it, where text never goes."""
    folder = written("Gemma 3, with vision")
    adapted, left_out = described(folder)
    assert adapted.startswith("adapters on 14 linear layers: down_proj, gate_proj, k_proj,")
    assert "self_attn.q_proj" in left_out
    assert "text never reaches them" in left_out
    model = Model(id=str(folder), dtype="float32", device="cpu")
    policy = load_policy(str(folder), model, read_tokens(str(folder), model))
    policy.adapters.fresh("one", Adapter(rank=2, alpha=4.0), seed=0)
    assert not [name for name, _ in policy.base.named_parameters() if ".lora_" in name and "vision" in name]


def test_chosen_layers_are_those_that_are_printed(written):
    adapted, *_ = described(written("Llama 3"), targets=("q_proj", "layers.1.mlp.up_proj"))
    assert adapted == "adapters on 3 linear layers: q_proj, up_proj"


def test_a_run_prints_the_same_lines_before_its_first_step(written, tmp_path):
    folder = written("Qwen3-MoE")
    done = trial.go(folder, tmp_path / "run")
    lines = described(folder)
    assert len(lines) == 2
    assert [line for line in done.messages if line in lines] == lines
