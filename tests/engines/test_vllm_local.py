"""vLLM in a process next to the training: started twice for all these tests, on a random model in float32.

As on a CPU the worker is a separate process; as on CUDA it is inside the engine's and is scheduled asynchronously.
"""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from prerlkit.errors import CanaryError, EngineError, UsageError
from prerlkit.policy import save
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.canary import Canary, CanaryEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Prompt

PROMPTS = tuple(Prompt(f"p{i}", "", tuple(range(40 + i, 64 + i))) for i in range(4))


@pytest.fixture(scope="module", params=["as on CUDA", "as on a CPU"])
def started(request, vllm, in_process, small, tmp_path_factory):
    """A policy without adapters, its trainer's side, and the engine that holds its copy."""
    from prerlkit.policy.policy import load_policy
    from prerlkit.policy.tokens import read_tokens
    from prerlkit.recipe.model import Model
    from prerlkit.rollout.vllm import VllmEngine
    from prerlkit.rollout.vllm_local import LocalSettings, LocalVllm

    model = Model(id=str(small), dtype="float32", device="cpu")
    policy = load_policy(str(small), model, read_tokens(str(small), model))
    canary = Canary(policy, PROMPTS, "float32")
    targets = policy.adapters.linear_names
    way = tmp_path_factory.mktemp("way")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "as on CUDA":
            patch.setattr(vllm, "LLM", in_process.as_on_cuda())
        client = LocalVllm(LocalSettings(small, "float32", targets, 8, 128, 8, False, True, 0.3, 32 << 20), way)
    engine = VllmEngine(client, policy, policy.tokenizer.decode, policy.end_ids, way / "x")
    yield SimpleNamespace(policy=policy, engine=engine, client=client, canary=canary)
    engine.close()


def train(policy, size):
    """Move the trainable adapter, as a step would."""
    generator = torch.Generator().manual_seed(int(1e6 * size))
    with torch.no_grad():
        for parameter in policy.adapters.trainable:
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def sample(engine, **changes):
    sampling = Sampling(**{"samples": 2, "max_new_tokens": 6, "temperature": 0.7, "seed": 3, **changes})
    return {(p, s): c for p, s, c in engine.generate(PROMPTS, sampling)}


def trainer_logprobs(policy, prompt, completion, temperature):
    tokens = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
    with torch.no_grad():
        logits = policy.base(input_ids=tokens).logits[0, len(prompt.token_ids) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, tokens[0, len(prompt.token_ids) :, None])[:, 0]


def test_the_whole_life_of_an_engine(started, monkeypatch):
    """One test, in the order of a run: each part needs what the one before left."""
    policy, adapters = started.policy, started.policy.adapters
    watched = CanaryEngine(started.engine, started.canary)
    assert watched.base_drift < 1e-4

    settings = Recipe.model_fields["adapter"].default.model_copy(update={"rank": 2, "alpha": 4.0})
    adapters.fresh("one", settings, seed=1)
    assert watched.sync_weights().drift < 1e-4  # zero

    # Generated tokens are right in number, place and log-prob, and a function of the seed alone.
    first = sample(watched)
    assert sorted(first) == [(p, s) for p in range(4) for s in range(2)]
    assert len({c.token_ids for c in first.values()}) > 4
    assert sample(watched) == first
    assert sample(watched, seed=4) != first
    for (p, _), completion in first.items():
        expected = trainer_logprobs(policy, PROMPTS[p], completion, 0.7)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-3, rtol=1e-3)

    # Trained, the same prompts: a cache of the adapter before would show in the log-probs.
    train(policy, 0.05)
    sync = watched.sync_weights()
    assert sync.drift < 1e-4
    assert sync.gain == pytest.approx(1.0, abs=1e-3)
    moved = sample(watched)
    assert moved != first
    for (p, _), completion in moved.items():
        expected = trainer_logprobs(policy, PROMPTS[p], completion, 0.7)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-3, rtol=1e-3)

    # A stack of two, as one adapter.
    adapters.fresh("two", settings, seed=2)
    train(policy, 0.05)
    sync = watched.sync_weights()
    assert sync.drift < 1e-4
    assert sync.gain == pytest.approx(1.0, abs=1e-3)

    # Stale: the engine keeps what it has, the policy goes on.
    train(policy, 0.01)
    load, started.client.load = started.client.load, lambda folder: None
    with pytest.raises(CanaryError, match="earlier adapter"):
        watched.sync_weights()
    started.client.load = load

    # Twice: the adapters of both stages, doubled on the way.
    def doubled(folder):
        config, tensors = save.concatenate(*([f(n) for n in ("one", "two")] for f in (adapters.config, adapters.state)))
        folder.mkdir(parents=True)
        config.lora_alpha *= 2
        config.save_pretrained(str(folder))
        save.save_file(tensors, folder / save.WEIGHTS)

    with monkeypatch.context() as patch:
        patch.setattr(type(started.policy), "write_adapter", lambda policy, folder, names=None: doubled(folder))
        with pytest.raises(CanaryError, match=r"more than once|drifted"):
            watched.sync_weights()
    assert watched.sync_weights().drift < 1e-4


def test_stop_tokens_end_a_completion(started):
    """Every byte is an end token here, so that each completion is one token long and none is cut."""
    from prerlkit.rollout.vllm import VllmEngine

    engine = VllmEngine(started.client, started.policy, lambda ids: "", range(264), started.engine._folder)
    found = {(p, s): c for p, s, c in engine.generate(PROMPTS, Sampling(1, 6, 1.0, 1))}
    assert [len(c.token_ids) for c in found.values()] == [1] * 4
    assert not any(c.truncated for c in found.values())


def test_greedy_is_the_likeliest_token(started):
    started.engine.sync_weights()
    found = sample(started.engine, samples=1, temperature=None, max_new_tokens=1)
    for (p, _), completion in found.items():
        with torch.no_grad():
            logits = started.policy.base(input_ids=torch.tensor([PROMPTS[p].token_ids])).logits[0, -1]
        assert logits[completion.token_ids[0]] == pytest.approx(logits.max().item(), abs=1e-3)


def test_a_rollout_that_is_given_up_leaves_nothing_in_the_next(started):
    whole = sample(started.engine, seed=7)
    given_up = started.engine.generate(PROMPTS, Sampling(8, 90, 1.0, 1))
    next(given_up)
    given_up.close()
    assert sample(started.engine, seed=7) == whole


def test_a_request_that_vllm_refuses_is_named_and_harms_no_other(started):
    long = Prompt("long", "", tuple(range(40, 240)))
    with pytest.raises(UsageError, match="200 input tokens"):  # no death: another engine would refuse it too
        list(started.engine.generate([*PROMPTS, long], Sampling(2, 6, 1.0, 1)))
    assert len(sample(started.engine)) == 8


def test_the_cpu_build_has_no_sleep_and_the_run_knows(started):
    from prerlkit.rollout.vllm_local import has_sleep

    if has_sleep():
        pytest.skip("this build sleeps; on CUDA the whole life above goes through it")
    started.client.rest()
    started.client.wake()  # neither has an effect, and neither fails
    assert len(sample(started.engine)) == 8


def test_an_engine_that_is_killed_says_so(started):
    """Last: nothing is left of the engine afterwards."""
    import psutil

    rollout = started.engine.generate(PROMPTS, Sampling(8, 90, 1.0, 1))
    next(rollout)
    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="died") as caught:
        list(rollout)
    assert "--resume" in caught.value.hint
