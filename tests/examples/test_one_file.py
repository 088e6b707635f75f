"""`examples/grpo_in_one_file.py` is the algorithm without the kit: both train the same adapters."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prerlkit.recipe.load import load
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run

SCRIPT = Path(__file__).parents[2] / "examples" / "grpo_in_one_file.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("grpo_in_one_file", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(script, make_tokenizer, make_model, tmp_path_factory) -> Path:
    """A tiny random Llama, fine-tuned for a few steps on answers: it writes numbers, now and then the right one."""
    tokenizer, tiny = make_tokenizer(), make_model()
    answers = [[*tokenizer.encode(str(a + b)), tokenizer.eos_token_id] for a, b in script.PROBLEMS]
    chats = [[{"role": "user", "content": f"{a} + {b}"}] for a, b in script.PROBLEMS]
    prompts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    rows = [torch.tensor(tokenizer.encode(x) + y) for x, y in zip(prompts, answers, strict=True)]
    tokens_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    labels_BT = torch.full_like(tokens_BT, -100)
    for b, (row, y) in enumerate(zip(rows, answers, strict=True)):
        labels_BT[b, len(row) - len(y) : len(row)] = row[-len(y) :]
    optimizer = torch.optim.Adam(tiny.parameters(), lr=3e-3)
    for _ in range(30):
        tiny(input_ids=tokens_BT, labels=labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("sums")
    tiny.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def of_the_script(model: Path, output: Path, warmup: int, steps: int) -> list[str]:
    """Run the script in its own process; return what it printed."""
    arguments = ["--model", str(model), "--warmup", str(warmup), "--steps", str(steps), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment, cwd=output.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def of_the_kit(script, model: Path, folder: Path, warmup: int, steps: int) -> Path:
    """Run recipes/smoke.yaml with the script's model, questions and sizes; return the run's folder."""
    for name, problems in (("train", script.PROBLEMS), ("eval", [(50, 50)])):
        rows = [{"question": f"What is {a} + {b}?", "answer": str(a + b)} for a, b in problems]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "model": f"{{id: {model}, dtype: float32, device: cpu}}",
        "data.train": f"{{kind: file, path: {folder / 'train.jsonl'}}}",
        "data.eval": f"{{kind: file, path: {folder / 'eval.jsonl'}}}",
        "data.shuffle": "false",
        "rollout.group_size": "8",
        "stages.warmup.steps": f"{warmup}",
        "stages.rl.steps": f"{steps}",
        "evaluation.when": "[]",
    }
    recipe = load("smoke", [f"{key}={value}" for key, value in changes.items()]).recipe
    run(recipe, folder / "kit", recipe_folder=None, callback=SilentCallback(), stop=StopSignal())
    return folder / "kit"


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return ‖found − expected‖ / ‖expected‖ over all tensors."""
    differences = torch.cat([(found[name] - tensor).flatten() for name, tensor in expected.items()])
    return (differences.norm() / torch.cat([tensor.flatten() for tensor in expected.values()]).norm()).item()


def product(folder: Path) -> dict[str, torch.Tensor]:
    """The change of each weight that an adapter makes: alpha / r · B @ A."""
    config = json.loads((folder / "adapter_config.json").read_text())
    weights = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    return {
        name: scale * weights[name.replace("lora_A", "lora_B")] @ weights[name] for name in weights if "lora_A" in name
    }


def test_it_needs_no_kit_and_fits_in_250_lines():
    text = SCRIPT.read_text(encoding="utf-8")
    names = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in names if name.startswith("prerlkit")]
    assert len(text.splitlines()) <= 250


def test_three_steps_of_each_stage_give_the_adapters_of_the_kit(script, model, tmp_path):
    """In float32, up to rounding.

    Both draw their own samples. They agree because a token is a function of the probabilities and of a uniform number
    that is derived from (seed, step, prompt, sample) alike; the script has its own copy of those few lines. A number
    that falls within rounding of a boundary would give another token: with this seed none does. Questions and their
    order are the script's, given to the kit as a file. The script takes the last number as the answer; the kit's `math`
    verifier agrees on the short completions here, which the rewards show.
    """
    lines = of_the_script(model, tmp_path / "script", warmup=3, steps=3)
    kit = of_the_kit(script, model, tmp_path, warmup=3, steps=3)

    metrics = [json.loads(line) for line in (kit / "metrics.jsonl").read_text().splitlines()]
    assert [f"{m['stage']} step {m['step']}: reward {m['reward/mean']:.3f}" for m in metrics] == [
        line.split(", ")[0] for line in lines[:6]
    ]
    trained = [m["loss/total"] for m in metrics if not m["optim/skipped"]]
    printed = [float(line.split("loss ")[1].split(",")[0]) for line in lines[:6] if "loss" in line]
    assert printed == pytest.approx(trained, abs=1e-4)
    assert len(printed) >= 4, "most steps had no signal: this compares nothing"

    for theirs, ours in (("warmup", "adapters/warmup"), ("rl", "adapters/rl")):
        found = load_file(tmp_path / "script" / theirs / "adapter_model.safetensors")
        expected = load_file(kit / ours / "adapter_model.safetensors")
        assert set(found) == set(expected)
        assert distance(found, expected) < 1e-5
        learned = {name: tensor for name, tensor in expected.items() if "lora_B" in name}  # B starts at zero
        assert min(tensor.abs().max() for tensor in learned.values()) > 1e-5
        assert distance({name: found[name] for name in learned}, learned) < 1e-2  # Adam enlarges rounding near 0
    assert distance(product(tmp_path / "script" / "all"), product(kit / "adapter")) < 1e-2


def test_help_names_every_option(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["grpo_in_one_file.py", "--help"])
    with pytest.raises(SystemExit):
        script.main()
    text = capsys.readouterr().out
    for option in ("--model", "--warmup", "--steps", "--group", "--seed", "--output"):
        assert option in text
