"""The vLLM engine on a client that answers from a list: requests, completions, weight syncs; and a server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import AutoConfig

from prerlkit.engines.vllm import engine_need
from prerlkit.errors import EngineError, UsageError
from prerlkit.install import pip_install
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.memory import BLOCK, EngineMemory, engine_memory, quantized_weights
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.vllm import GoneError, Request, Sampled, VllmEngine, rank_for
from prerlkit.rollout.vllm_local import check_installed
from prerlkit.rollout.vllm_server import ServerVllm
from prerlkit.types import Prompt

END = 9
QWEN3_4B = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}
PROMPTS = [Prompt("a", "A", (1, 2)), Prompt("b", "B", (3,))]


class Client:
    def __init__(self):
        self.calls, self.requests = [], []

    def wake(self):
        self.calls.append("wake")

    def rest(self):
        self.calls.append("rest")

    def load(self, folder):
        self.calls.append("load")
        self.loaded = folder
        assert (folder / "adapter").read_text() == "weights"

    def sample(self, requests, sampling, end_ids):
        self.requests.append(requests)
        assert end_ids == (END,)
        for i in reversed(range(len(requests))):
            yield Sampled(i, (i, END) if i % 2 else (i, i), (-0.5, -0.25))

    def close(self):
        self.calls.append("close")


class PolicySource:
    def __init__(self, calls=None):
        self.calls = [] if calls is None else calls

    def release_memory(self):
        self.calls.append("trainer makes room")

    def write_adapter(self, folder, names=None):
        folder.mkdir(parents=True)
        (folder / "adapter").write_text("weights")


@pytest.fixture
def engine(tmp_path):
    client = Client()
    return client, VllmEngine(
        client, PolicySource(client.calls), lambda ids: "-".join(map(str, ids)), (END,), tmp_path / "way"
    )


def test_completions_keep_their_place_their_end_and_their_logprobs(engine):
    client, vllm = engine
    vllm.sync_weights()
    found = {(p, s): c for p, s, c in vllm.generate(PROMPTS, Sampling(2, 2, 1.0, seed=5))}
    assert sorted(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert found[0, 1].token_ids == (1, END)
    assert not found[0, 1].truncated
    assert found[1, 0].text == "2-2"
    assert found[1, 0].truncated
    assert found[1, 0].logprobs == (-0.5, -0.25)
    assert client.calls == ["trainer makes room", "wake", "load", "rest"]


def test_a_seed_belongs_to_step_prompt_and_sample(engine):
    client, vllm = engine
    for prompts, seed in ((PROMPTS, 5), (PROMPTS[::-1], 5), (PROMPTS, 6)):
        list(vllm.generate(prompts, Sampling(2, 2, 1.0, seed=seed)))
    first, turned, other = [[r.seed for r in requests] for requests in client.requests]
    assert len(set(first + other)) == 8
    assert turned == first[2:] + first[:2]
    assert [r.token_ids for r in client.requests[0]] == [(1, 2), (1, 2), (3,), (3,)]


def test_each_hand_over_has_a_path_and_a_cache_salt_of_its_own(engine):
    client, vllm = engine
    places = []
    for _ in range(2):
        vllm.sync_weights()
        places.append(client.loaded)
        list(vllm.generate(PROMPTS, Sampling(1, 2, 1.0, seed=5)))
    assert places[0] != places[1]
    assert not places[0].exists()
    salts = [{r.salt for r in requests} for requests in client.requests]
    assert len(salts[0]) == len(salts[1]) == 1
    assert salts[0] != salts[1]
    vllm.close()
    assert not places[1].parent.exists()


def test_the_engine_goes_to_rest_when_its_rollout_is_broken_off(engine):
    client, vllm = engine
    rollout = vllm.generate(PROMPTS, Sampling(2, 2, 1.0, seed=5))
    next(rollout)
    rollout.close()
    assert client.calls == ["rest"]


def test_ranks_are_rounded_to_what_vllm_takes():
    assert [rank_for(r) for r in (1, 2, 8, 9, 64, 65, 300, 512)] == [1, 8, 8, 16, 64, 128, 320, 512]
    with pytest.raises(UsageError, match="513"):
        rank_for(513)


def test_memory_by_hand():
    config = SimpleNamespace(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        vocab_size=100,
    )
    need = engine_memory(config, weights=1000, rank=8, sequences=3, length=BLOCK, item=2)
    assert need.cache == 3 * 2 * BLOCK * 2 * 2 * 2 * 16 * 2  # sequences, blocks, tokens, layers, k and v, heads, width
    assert need.sequence == need.cache / 3
    assert need.adapter == 8 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128)) * 2 * 2
    gib = 1 << 30
    fits = EngineMemory(weights=5 * gib, adapter=gib, cache=2 * gib, sequence=gib)
    assert fits.share(device=20 * gib, free=15 * gib) == pytest.approx(10 / 20)
    assert fits.share(device=20 * gib, free=6 * gib) == pytest.approx(4.5 / 20)  # less 1 to spare and its context


def test_pinned_host_memory_by_hand():
    """Qwen3-4B: a layer's weights of 30, 20, 95 and 47.5 MiB pin 32, 32, 128 and 64; its table of 742 pins 1024."""
    config = AutoConfig.for_model("qwen3", **QWEN3_4B)
    weights = 2 * (36 * (15_728_640 + 10_485_760 + 49_807_360 + 24_903_680) + 388_956_160)
    need = engine_memory(config, weights=weights, rank=64, sequences=1, length=100)
    assert need.pinned - 2 * need.adapter == pytest.approx((36 * 256 + 1024) << 20)


def test_memory_of_a_hybrid_of_gated_delta_nets_and_attention():
    """Adapters on all linear layers as the model has them; keys of a quarter of its layers, two states of the others.

    Qwen3.5-4B: a state of 32 heads of 128 by 128 in float32 and of a convolution 3 wide over 8,192 channels is
    2,146,304 bytes; 4,096 bytes of keys and values a token make 524 tokens as large.
    """
    from prerlkit.plan.config import find_config
    from prerlkit.policy.blank import blank_base
    from prerlkit.policy.layers import find_layers
    from prerlkit.recipe.model import Model

    model = Model(id="Qwen/Qwen3.5-4B", dtype="bfloat16")
    base = blank_base(find_config(model), model, "cpu")
    weights = dict(base.named_modules())
    need = engine_memory(base.config, weights=1000, rank=64, sequences=64, length=3072)
    assert need.adapter == 2 * 64 * sum(sum(weights[name].weight.shape) for name in find_layers(base).linear)
    assert need.sequence == 8 * 6 * 524 * 4096 + 24 * 2 * 2_146_304


def test_weights_in_8_bits_by_hand():
    """Qwen3-4B: the 36 layers' 3.63 of its 4.02 billion numbers take a byte each, the table two."""
    config = AutoConfig.for_model("qwen3", **QWEN3_4B)
    linear, table = 36 * (15_728_640 + 10_485_760 + 49_807_360 + 24_903_680), 388_956_160
    assert quantized_weights(config, 2 * (linear + table)) == pytest.approx(linear + 2 * table)


def test_an_8_bit_copy_is_of_an_engine_that_the_run_starts(tiny_recipe):
    def recipe(**vllm):
        data = tiny_recipe()
        return Recipe.model_validate({**data, "rollout": {**data["rollout"], "engine": "vllm", "vllm": vllm}})

    assert recipe(quantization="fp8").rollout.vllm.quantization == "fp8"
    with pytest.raises(ValueError, match="--quantization fp8_per_tensor"):
        recipe(quantization="fp8", server="http://host:8000")
    config = AutoConfig.for_model("qwen3", **QWEN3_4B)
    whole, half = (engine_need(recipe(quantization=q), config, 8 << 30).weights for q in ("none", "fp8"))
    assert 0.5 < half / whole < 0.6


def test_a_completion_that_a_server_broke_off_is_not_taken(server):
    client = ServerVllm(server.address, connections=1, serve="vllm serve x")
    requests = [Request((1,), 1, "a")]
    for reason in ("stop", "length"):
        server.finish_reason = reason
        assert len(list(client.sample(requests, Sampling(1, 4, 1.0, seed=1), (END,)))) == 1
    for reason in ("abort", "error", "repetition", None):
        server.finish_reason = reason
        with pytest.raises(GoneError, match="before its end"):
            list(client.sample(requests, Sampling(1, 4, 1.0, seed=1), (END,)))


def test_without_vllm_the_error_has_the_install_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        check_installed()
    assert pip_install("vllm") in caught.value.hint


def test_a_server_gets_token_ids_seeds_and_salts(server, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    client = ServerVllm(server.address + "/", connections=4, serve="vllm serve x")
    vllm = VllmEngine(client, PolicySource(), lambda ids: "", (END,), tmp_path / "way")
    assert vllm.score([(7, 1, 2)], adapter=True) == {f"the vLLM server at {server.address}": [[-1.0, -2.0]]}
    vllm.sync_weights()
    found = list(vllm.generate(PROMPTS, Sampling(1, 4, None, seed=1, top_k=3)))
    assert sorted(p for p, _, _ in found) == [0, 1]
    vllm.close()
    paths = [path for path, _, _ in server.asked]
    assert paths[1] == "/v1/load_lora_adapter"
    assert paths[-1] == "/v1/unload_lora_adapter"
    assert server.asked[1][1]["load_inplace"] is True
    bodies = [body for path, body, _ in server.asked[2:] if path == "/v1/completions"]
    assert sorted(b["prompt"] for b in bodies) == [[1, 2], [3]]
    for body in bodies:
        assert (body["model"], body["temperature"], body["top_k"], body["ignore_eos"]) == ("prerlkit", 0.0, 3, True)
        assert body["cache_salt"]
    assert {key for _, _, key in server.asked} == {"Bearer secret"}


def test_what_is_wrong_with_a_server_is_said_before_the_first_step(server, tmp_path):
    with pytest.raises(EngineError, match="does not answer") as caught:
        ServerVllm("http://127.0.0.1:9", connections=1, serve="vllm serve x")
    assert "vllm serve x" in caught.value.hint
    client = ServerVllm(server.address, connections=1, serve="vllm serve x")
    client.check_tokenizer([("ab", (97, 98))])
    with pytest.raises(UsageError, match="tokenizer"):
        client.check_tokenizer([("ab", (1,))])
    client.check_logprobs((1,), plain=True)
    with pytest.raises(UsageError, match="temperature 1"):
        client.check_logprobs((1,), plain=False)
    client.check_adapters()
    server.refuse["/v1/load_lora_adapter"] = (404, {"detail": "Not Found"})
    for taking in (client.check_adapters, lambda: client.load(tmp_path)):
        with pytest.raises(EngineError, match="takes no adapters") as caught:
            taking()
        assert "vllm serve x" in caught.value.hint
    server.refuse["/v1/load_lora_adapter"] = (500, {"error": "LoRA is not enabled"})
    with pytest.raises(EngineError, match="LoRA is not enabled"):
        client.check_adapters()
    server.refuse["/v1/load_lora_adapter"] = (404, {"error": f"No adapter found for {tmp_path}"})
    with pytest.raises(EngineError, match="doesn't see") as caught:
        client.load(tmp_path)
    assert "shared_folder" in caught.value.hint
    server.refuse["/v1/completions"] = (500, {"error": "EngineCore died"})
    with pytest.raises(EngineError, match="EngineCore died"):
        client.score([(1, 2)], adapter=False)
    server.refuse["/v1/completions"] = (401, {"error": "no"})
    with pytest.raises(EngineError) as caught:
        client.score([(1, 2)], adapter=False)
    assert "VLLM_API_KEY" in caught.value.hint
