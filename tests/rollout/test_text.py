"""What verifiers see of a completion."""

from __future__ import annotations

from prerlkit.verifiers.format import Format, FormatSettings

from prerlkit.rollout.text import completion_text
from prerlkit.verify import VerifierInput


def test_tags_that_are_special_tokens_reach_the_verifier(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<think>", "</think>", "<answer>", "</answer>", "<pad>"]}
    )
    tokenizer.pad_token = "<pad>"
    written = "<think>6 * 7</think><answer>42</answer>"
    ids = tokenizer(written + "<end><pad><pad>", add_special_tokens=False)["input_ids"]
    text = completion_text(tokenizer, ids, (256,))
    assert text == written
    settings = FormatSettings(tags=("think", "answer"))
    assert Format(settings).judge(VerifierInput("", text, None, {}, False, len(ids))).passed
