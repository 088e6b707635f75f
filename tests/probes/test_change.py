"""What an update did to the log-prob of each token, against the model's own logits before and after."""

from __future__ import annotations

import pytest
import torch

from prerlkit.probes.change import Change, ChangeSettings, token_texts
from prerlkit.probes.registry import metric_names
from prerlkit.types import Completion, Group, Prompt, Verdict


@torch.no_grad()
def logprobs(policy, context, completion):
    logits = policy.base(input_ids=torch.tensor([context + completion])).logits[0, len(context) - 1 : -1]
    return (logits.double() / 0.7).log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_changes_are_those_of_the_model_in_both_spaces(policy, move, seen, make_group):
    groups = [make_group("10?", 1), make_group("00", 2), make_group("11", 3)]
    contexts = {"conditional": lambda group: group.prompt.token_ids, "pretrain": lambda _: (policy.start.id,)}

    def all_of(space):
        return [
            logprobs(policy, contexts[space](group), y.token_ids) for group in groups[:2] for y in group.completions
        ]

    first = Change(ChangeSettings(groups=2)).measure(seen(policy, groups))
    assert (dict(first.metrics), dict(first.details)) == ({}, {})
    before = {space: all_of(space) for space in contexts}
    move(policy, seed=5)
    after = {space: all_of(space) for space in contexts}
    reading = first.after(seen(policy, groups))
    assert set(reading.metrics) == set(metric_names(Change))
    for space in contexts:
        changes = [b - a for a, b in zip(before[space], after[space], strict=True)]
        assert float(torch.cat(changes).abs().max()) > 0.01
        expected = {"": changes, "/positive": changes[:1], "/negative": changes[1:2]}  # the second group has no signal
        for kind, chosen in expected.items():
            found = reading.metrics[f"probe/change/{space}{kind}"]
            assert found == pytest.approx(float(torch.cat(chosen).mean()), abs=1e-5)
        shown = [tokens for group in reading.details["groups"] for tokens in group["completions"]]
        for tokens, old, change in zip(shown, before[space], changes, strict=True):
            assert tokens[space] == pytest.approx(old.tolist(), abs=6e-4)
            assert tokens[f"{space}_change"] == pytest.approx(change.tolist(), rel=6e-3, abs=1e-4)
            assert len(tokens["pieces"]) == len(old)
    assert [group["prompt_id"] for group in reading.details["groups"]] == ["train/1", "train/2"]


def test_an_update_that_changes_nothing_changes_no_token(policy, seen, make_group):
    first = Change(ChangeSettings()).measure(seen(policy, [make_group("10")]))
    reading = first.after(seen(policy, [make_group("10")]))
    assert set(reading.metrics.values()) == {0.0}


def test_completions_without_a_token_have_no_numbers(policy, seen):
    empty, one = Completion((), "", (), False), Completion((65, 66), "AB", (-1.0, -1.0), False)
    verdicts = (Verdict.of(False), Verdict.of(True))
    probe = Change(ChangeSettings())
    assert probe.measure(seen(policy, [Group(Prompt("a", "p", (1,)), (empty, empty), verdicts)])).after is None
    mixed = [Group(Prompt("a", "p", (1,)), (empty, one), verdicts)]
    completions = probe.measure(seen(policy, mixed)).after(seen(policy, mixed)).details["groups"][0]["completions"]
    assert completions[0] == {}
    assert len(completions[1]["pretrain"]) == 2


def test_tokens_are_shown_as_the_text_they_add(make_tokenizer):
    tokenizer = make_tokenizer()
    text = "a é€🧑 z<end>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = token_texts(tokenizer, ids)
    assert pieces == ["a", " ", "", "é", "", "", "€", "", "", "", "🧑", " ", "z", "<end>"]
    cut = token_texts(tokenizer, ids[:-4])  # in the middle of a character
    assert len(cut) == len(ids) - 4
    assert cut[:7] == pieces[:7]
    broken = token_texts(tokenizer, [ids[4], *ids[:2], *[ids[7]] * 9, ids[0]])
    assert len(broken) == 13
    assert broken[-1].endswith("a")
