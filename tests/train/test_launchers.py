"""What starts several processes: the real torchrun and accelerate, and recipes that several can't share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.schema import Recipe
from prerlkit.train.connect import read_place
from prerlkit.train.validate import check_processes

SAY = """
import json, os, pathlib
names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
pathlib.Path(__file__).with_name(os.environ["RANK"] + ".json").write_text(json.dumps({n: os.environ[n] for n in names}))
"""


@pytest.mark.parametrize(
    "launcher",
    [
        ("torch.distributed.run", "--nproc-per-node", "2", "--master-port"),
        ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port"),
    ],
    ids=["torchrun", "accelerate"],
)
def test_what_a_launcher_sets_is_understood(launcher, tmp_path):
    """The commands of docs/scaling.md; without a GPU `accelerate launch --cpu` would start one process."""
    script = tmp_path / "say.py"
    script.write_text(SAY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *launcher, str(port), str(script)]
    subprocess.run(command, check=True, timeout=120, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    said = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert sorted(read_place(environ) for environ in said) == [(0, 2, 0), (1, 2, 1)]


def test_an_engine_beside_each_of_several_processes_is_refused_and_a_server_is_not(tiny_recipe):
    data = tiny_recipe()
    data["rollout"]["engine"] = "vllm"
    check_processes(Recipe.model_validate(data), 1)
    with pytest.raises(UsageError, match="one engine next to one process") as caught:
        check_processes(Recipe.model_validate(data), 2)
    assert "vllm serve" in caught.value.hint
    data["rollout"]["vllm"] = {"server": "http://host:8000"}
    check_processes(Recipe.model_validate(data), 2)
