"""An exported adapter in real vLLM, served by the line `prerlkit export` prints, is the policy; a wrong one is not."""

from __future__ import annotations

import json
import shutil
from urllib import request

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import prerlkit
from prerlkit.cli.app import app

SEQUENCES = [list(range(40 + i, 80 + i)) for i in range(4)]
BOUNDS = {"float32": 1e-4, "bfloat16": 0.1}
"""On the mean |difference| of log-probs, nats a token: sums in another order; in bfloat16, of activations of 8 bits."""


def served(address: str, name: str) -> torch.Tensor:
    """Log-probs of the sequences' own tokens by the server's model of that name."""
    found = []
    for ids in SEQUENCES:
        body = {"model": name, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        asked = request.Request(f"{address}/v1/completions", json.dumps(body).encode())
        asked.add_header("Content-Type", "application/json")
        with request.urlopen(asked, timeout=120) as answer:
            places = json.loads(answer.read())["choices"][0]["prompt_logprobs"][1:]
        found.append([place[str(token)]["logprob"] for place, token in zip(places, ids[1:], strict=True)])
    return torch.tensor(found)


@torch.no_grad()
def live(target: str) -> torch.Tensor:
    tokens = torch.tensor(SEQUENCES)
    logits = prerlkit.load_policy(target, dtype="float32", device="cpu").model(input_ids=tokens).logits[:, :-1]
    return logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().mean().item()


@pytest.fixture(scope="module")
def trained(vllm, small, tiny_recipe, tmp_path_factory):
    """A run of two stages whose adapters move the model far."""
    stages = [
        {"name": "warmup", "objective": "nsr-prerl", "steps": 2, "learning_rate": 3e-2},
        {"name": "rl", "objective": "grpo", "steps": 2, "learning_rate": 3e-2},
    ]
    model = {"id": str(small), "dtype": "float32", "device": "cpu"}
    recipe = tiny_recipe(name="small", model=model, stages=stages, evaluation={"prompts": 4, "when": []})
    folder = tmp_path_factory.mktemp("runs") / "small"
    prerlkit.run(recipe, folder)
    return folder


@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_exported_adapter_is_the_policy_in_vllm(vllm_server, trained, small, tmp_path, dtype):
    said = CliRunner().invoke(app, ["export", str(trained), "-o", str(tmp_path / "export")])
    assert said.exit_code == 0, said.output
    (line,) = [line for line in said.output.splitlines() if line.startswith("vLLM: ")]
    wrong = tmp_path / "wrong"
    shutil.copytree(tmp_path / "export", wrong)
    file = wrong / "adapter_model.safetensors"
    save_file({k: v / 2 if "lora_B" in k else v for k, v in load_file(file).items()}, file)  # alpha / r forgotten
    options = [*line.removeprefix("vLLM: ").split(), f"wrong={wrong}", "--dtype", dtype, "--max-model-len", "128"]
    address = vllm_server(str(small), *options)

    policy, base = live(str(trained)), live(str(small))
    effect, error = apart(policy, base), apart(served(address, "policy"), policy)
    off, untouched = apart(served(address, "wrong"), policy), apart(served(address, str(small)), base)
    print(
        f"{dtype}: policy {error:.2g}, base {untouched:.2g}, scale dropped {off:.2g}, effect {effect:.2g} nats a token"
    )
    assert error < BOUNDS[dtype]
    assert untouched < BOUNDS[dtype]
    assert off > 3 * BOUNDS[dtype]
    assert effect > 3 * BOUNDS[dtype]
