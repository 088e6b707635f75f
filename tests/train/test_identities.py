"""The identities of the method: each must hold to rounding on any model, so they are tested on a tiny random one."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from prerlkit.objective.presets import PRESETS
from prerlkit.policy.logprobs import Sequences
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train.distributed import World
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt, Verdict

PROMPTS = ("What is 1 + 2?", "Name a colour, please.", "Hi", "Spell cat backward now")
ANSWERS = ("3<", "I say blue", "no", "tac and so on, at length")


def make_groups(*, seed: int = 0) -> list[Group]:
    """Four groups of four completions: mixed, all right, all wrong, one unjudged."""
    generator = torch.Generator().manual_seed(seed)
    scores = [[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, None, 1, 0]]
    groups = []
    for p, text in enumerate(PROMPTS):
        completions, verdicts = [], []
        for g in range(4):
            length = 1 + int(torch.randint(1, 12, (1,), generator=generator))
            ids = tuple(torch.randint(0, 256, (length,), generator=generator).tolist())
            completions.append(Completion(ids, ANSWERS[g], (0.0,) * length, truncated=False))
            score = scores[p][g]
            verdicts.append(Verdict.unjudged("crash") if score is None else Verdict.of(score == 1))
        prompt = Prompt(f"train/{p}", text, tuple(text.encode()), "x")
        groups.append(Group(prompt, tuple(completions), tuple(verdicts)))
    return groups


def make_stage(objective, **changes) -> Stage:
    return Stage.model_validate(
        {"name": "s", "objective": objective, "steps": 4, "learning_rate": 1e-2, "adapter": {"rank": 4}, **changes}
    )


def trained_adapter(policy, *, seed: int = 1) -> None:
    """A fresh adapter whose factors are all non-zero, as after some training."""
    policy.adapters.fresh("s", Adapter(rank=4, alpha=8), seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def gradient(policy, groups, objective, memory=None, world=None, **stage) -> torch.Tensor:
    """The gradient of the objective on `groups`, as one vector."""
    updater = Updater(policy, make_stage(objective, **stage), memory or Memory(), world or World())
    for parameter in policy.adapters.trainable:
        parameter.grad = None
    updater.gradients(groups)
    if world:
        world.sum_gradients(policy.adapters.trainable)
    return torch.cat([p.grad.flatten() for p in policy.adapters.trainable])


def test_pretrain_logprobs_are_the_models_own_logprobs_of_start_plus_completion(tiny_policy):
    trained_adapter(tiny_policy)
    completion = list(b"seven, I think")
    sequence = [tiny_policy.start.id, *completion]
    with torch.no_grad():
        logits_TV = tiny_policy.base(input_ids=torch.tensor([sequence])).logits[0]
        plain_N = torch.stack([logits_TV[t].log_softmax(-1)[y] for t, y in enumerate(completion)])
        # Beside a longer completion, so that this one is padded.
        contexts, completions = [(tiny_policy.start.id,)] * 2, [tuple(completion), tuple(b"A" * 40)]
        sequences = Sequences(contexts, completions, tiny_policy.device)
        ours_N, _ = tiny_policy.logprobs(sequences, temperature=1.0, chunk=3, entropy=False)
        ours_N = ours_N[: len(completion)]
    torch.testing.assert_close(ours_N, plain_N, atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_skipped_samples_change_neither_loss_nor_gradient(tiny_policy, preset, monkeypatch):
    """Running the samples without gradient, with advantage 0 as their mask, gives the same sums."""
    from prerlkit.train import batch as batch_module

    trained_adapter(tiny_policy)
    skipped = gradient(tiny_policy, make_groups(), preset)
    real = batch_module.train_rows
    runs = []

    def run_everything(samples, *args):
        rows = real([dataclasses.replace(s, carries_gradient=True) for s in samples], *args)
        runs.append(len(rows))
        return rows

    monkeypatch.setattr(batch_module, "train_rows", run_everything)
    masked = gradient(tiny_policy, make_groups(), preset)
    torch.testing.assert_close(skipped, masked, atol=1e-6, rtol=1e-5)
    assert skipped.abs().max() > 1e-4
    if PRESETS[preset]["samples"] == "all":
        assert runs[0] == 15  # all judged samples were really run


def test_samples_without_gradient_never_reach_the_model(tiny_policy):
    trained_adapter(tiny_policy)
    groups = make_groups()
    stats = Updater(tiny_policy, make_stage("nsr-prerl"), Memory(), World()).gradients(groups)
    # Wrong samples of the two mixed groups: two of the first, two of the last; behind one start token for all.
    wrong = [groups[0].completions[1], groups[0].completions[2], groups[3].completions[0], groups[3].completions[3]]
    assert stats.scored == sum(len(c.token_ids) for c in wrong)
    assert stats.tokens == stats.scored + 1


@pytest.mark.parametrize("objective", ["nsr-prerl", "grpo", "gspo", "dr-grpo"])
def test_sharing_a_prompt_among_its_completions_changes_the_gradient_by_rounding_only(tiny_policy, objective):
    trained_adapter(tiny_policy)
    assert tiny_policy.share_contexts
    shared = gradient(tiny_policy, make_groups(), objective)
    apart = gradient(dataclasses.replace(tiny_policy, share_contexts=False), make_groups(), objective)
    torch.testing.assert_close(shared, apart, atol=1e-6, rtol=1e-4)
    assert shared.abs().max() > 1e-4


@pytest.mark.parametrize("objective", ["nsr-prerl", "grpo", "gspo", "dr-grpo"])
def test_micro_batches_order_and_chunks_change_the_gradient_by_rounding_only(tiny_policy, objective):
    trained_adapter(tiny_policy)
    groups = make_groups()
    whole = gradient(tiny_policy, groups, objective)
    for memory in (Memory(microbatch_tokens=1), Memory(microbatch_tokens=64), Memory(logits_chunk=1)):
        torch.testing.assert_close(gradient(tiny_policy, groups, objective, memory), whole, atol=1e-6, rtol=1e-4)
    reordered = gradient(tiny_policy, groups[::-1], objective)
    torch.testing.assert_close(reordered, whole, atol=1e-6, rtol=1e-4)


def test_padding_side_changes_the_gradient_by_rounding_only(tiny_policy):
    """Right padding without a mask against the model's own left-padded masked form."""
    trained_adapter(tiny_policy)
    groups = make_groups()
    ours = gradient(tiny_policy, groups, "nsr-prerl")
    rows = [(c.token_ids, a) for c, a in _negative(groups)]
    width = 1 + max(len(ids) for ids, _ in rows)
    tokens_BT = torch.zeros(len(rows), width, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for b, (ids, _) in enumerate(rows):
        tokens_BT[b, width - len(ids) - 1 :] = torch.tensor([tiny_policy.start.id, *ids])
        mask_BT[b, width - len(ids) - 1 :] = 1
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    logits_BTV = tiny_policy.base(input_ids=tokens_BT, attention_mask=mask_BT, position_ids=positions_BT).logits
    total = torch.zeros(())
    for b, (ids, advantage) in enumerate(rows):
        logprobs = logits_BTV[b, width - len(ids) - 1 : -1].log_softmax(-1)
        total = total - advantage * logprobs[torch.arange(len(ids)), torch.tensor(ids)].sum()
    for parameter in tiny_policy.adapters.trainable:
        parameter.grad = None
    (total / sum(len(ids) for ids, _ in rows)).backward()
    plain = torch.cat([p.grad.flatten() for p in tiny_policy.adapters.trainable])
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-4)


def _negative(groups):
    """Wrong samples of mixed groups with their group-centred advantages, by hand."""
    first, last = groups[0], groups[3]
    return [
        (first.completions[1], -0.5),
        (first.completions[2], -0.5),
        (last.completions[0], -1 / 3),
        (last.completions[3], -1 / 3),
    ]


def test_on_policy_clip_has_the_gradient_of_minus_advantage_times_logprob(tiny_policy):
    trained_adapter(tiny_policy)
    for space, samples in (("pretrain", "negative"), ("conditional", "all")):
        choices = {"space": space, "samples": samples, "advantage": "group_mean", "aggregate": "token_mean"}
        clip = gradient(tiny_policy, make_groups(), {**choices, "loss": "clip"})
        reinforce = gradient(tiny_policy, make_groups(), {**choices, "loss": "reinforce"})
        torch.testing.assert_close(clip, reinforce, atol=1e-7, rtol=1e-5)


def test_fresh_adapter_on_a_stack_leaves_every_logit_where_it_was(tiny_policy):
    trained_adapter(tiny_policy)
    tokens = torch.tensor([list(b"leave me alone")])
    with torch.no_grad():
        before = tiny_policy.base(input_ids=tokens).logits
        tiny_policy.adapters.fresh("second", Adapter(rank=2), seed=5)
        after = tiny_policy.base(input_ids=tokens).logits
    assert torch.equal(before, after)
    assert before.std() > 0.1


def test_hybrid_gradient_is_the_weighted_sum_of_its_parts(tiny_policy):
    trained_adapter(tiny_policy)
    grpo = gradient(tiny_policy, make_groups(), "grpo")
    prerl = gradient(tiny_policy, make_groups(), "nsr-prerl")
    both = gradient(tiny_policy, make_groups(), ["grpo", {"preset": "nsr-prerl", "coefficient": 0.25}])
    torch.testing.assert_close(both, grpo + 0.25 * prerl, atol=1e-6, rtol=1e-5)


def test_gradient_checkpointing_changes_nothing(tiny_policy):
    trained_adapter(tiny_policy)
    plain = gradient(tiny_policy, make_groups(), "grpo")
    tiny_policy.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert tiny_policy.share_contexts
    again = gradient(tiny_policy, make_groups(), "grpo")
    torch.testing.assert_close(again, plain, atol=1e-6, rtol=1e-4)


def _rank_gradients(rank: int, folder: str, port: str, output: str) -> None:
    """What one of two processes does: its share of the rows, then the sum over both."""
    from prerlkit.policy.policy import load_policy
    from prerlkit.policy.tokens import read_tokens
    from prerlkit.recipe.model import Model

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    settings = Model(id=folder, dtype="float32", device="cpu")
    policy = load_policy(folder, settings, read_tokens(folder, settings))
    trained_adapter(policy)
    world = World(rank, 2)
    save_file({o: gradient(policy, make_groups(), o, world=world) for o in ("nsr-prerl", "grpo")}, output)
    torch.distributed.destroy_process_group()


def test_two_processes_with_a_share_of_the_rows_each_are_one_process_with_all(tiny_policy, tiny_model, tmp_path):
    trained_adapter(tiny_policy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    outputs = [str(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen([*command, str(r), str(tiny_model), port, outputs[r]]) for r in range(2)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    for objective in ("nsr-prerl", "grpo"):
        one = gradient(tiny_policy, make_groups(), objective)
        for output in outputs:
            torch.testing.assert_close(load_file(output)[objective], one, atol=1e-6, rtol=1e-4)


if __name__ == "__main__":
    _rank_gradients(int(sys.argv[1]), *sys.argv[2:])
