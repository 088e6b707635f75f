"""docs/publish.md done as it says: commands, pulling back, Python; with a tiny model and a Hub on localhost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)

SAME = """
import torch
local = AutoModelForCausalLM.from_pretrained("runs/tiny/merged", dtype="auto")
ids = tokenizer("What is 3 + 4?", return_tensors="pt")["input_ids"]
with torch.no_grad():
    assert torch.equal(model(input_ids=ids).logits, local(input_ids=ids).logits)
"""
RUN_COMMANDS = """
import shlex, sys
from typer.testing import CliRunner
from prerlkit.cli.app import app
for line in sys.stdin.read().splitlines():
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, (line, done.output)
    print(done.output)
"""


@pytest.fixture
def hub(new_hub):
    server = new_hub()
    server.user("hf_writer", "me")
    yield server
    server.close()


def test_the_page_takes_a_run_to_the_hub_and_back(hub, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    recipe["model"]["dtype"] = "float32"
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_writer",
        "COLUMNS": "160",
    }

    def python(code: str, text: str = "") -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, input=text, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    blocks = BLOCK.findall(PAGE)
    commands, measure = [content for kind, content in blocks if kind == "sh"]
    pull, from_python = [content for kind, content in blocks if kind == "python"]
    said = python(RUN_COMMANDS, commands)
    assert "proven: logits over" in said
    assert "loaded by PEFT" in said
    assert "pushed: " in said
    assert hub.repos["me/tiny"].private
    assert (tmp_path / "runs" / "tiny" / "merged" / "tiny-q8_0.gguf").is_file()
    python(pull + SAME + from_python)

    python(RUN_COMMANDS, measure)
    (results,) = (tmp_path / "evals").glob("*/results.json")
    ours, pulled = json.loads(results.read_text())["targets"]
    for figures in (ours, pulled):
        for name in ("target", "seconds"):
            figures.pop(name, None)
    assert ours == pulled
