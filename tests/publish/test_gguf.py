"""`merge --gguf`: the file is the merged model, or there is none."""

from __future__ import annotations

import json

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.publish.merge import merge

TOKENS = torch.tensor([list(b"What is 3 + 4? 7, I think.")])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=TOKENS).logits.float()


@pytest.mark.parametrize("kind", ["bf16", "q8_0"])
def test_a_gguf_file_is_the_merged_model_with_its_tokenizer(finished, kind):
    merged = merge(finished, gguf=kind)
    assert merged.gguf is not None
    loaded = AutoModelForCausalLM.from_pretrained(merged.folder, gguf_file=merged.gguf.name, dtype=torch.float32)
    ours = logits(AutoModelForCausalLM.from_pretrained(merged.folder, dtype=torch.float32))
    away = (logits(loaded) - ours).square().mean().sqrt()
    record = json.loads((merged.folder / "merge.json").read_text())["gguf"]
    assert away < (1e-5 if kind == "bf16" else 0.2 * merged.proof.scale)
    assert record["type"] == kind
    tokenizer = AutoTokenizer.from_pretrained(merged.folder, gguf_file=merged.gguf.name)
    text = "<turn>user\n3 + 4 = 7<end>"
    own = AutoTokenizer.from_pretrained(merged.folder)
    assert tokenizer(text)["input_ids"] == own(text)["input_ids"]
    written = GGUFReader(merged.gguf).get_field("tokenizer.chat_template")  # which transformers leaves out
    assert written.contents() == own.chat_template


def test_a_gguf_file_that_is_another_model_is_refused(finished, monkeypatch):
    from prerlkit.publish import gguf_file

    monkeypatch.setattr(gguf_file, "_interleaved", lambda weight, heads: weight)  # llama's order of rows forgotten
    with pytest.raises(PrerlkitError, match="loaded back, the GGUF file is"):
        merge(finished, gguf="bf16")
    assert not (finished / "merged").exists()


def test_what_gguf_can_not_hold_is_said_before_the_merge(tmp_path, make_family, make_tokenizer, make_run):
    base = tmp_path / "gemma"
    make_family("gemma2").save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    run = make_run(model={"id": str(base), "dtype": "float32", "device": "cpu"})
    with pytest.raises(UsageError, match="a gemma2 model can't be written as GGUF"):
        merge(run, gguf="bf16")
    assert not (run / "merged").exists()
