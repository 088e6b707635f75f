"""docs/verifiers.md, "Your own, from nothing", done word by word in a fresh virtual environment without a network.

Only the model is another one: a tiny random one, so that the run takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "verifiers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0].split("\n### ")[0]


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A virtual environment with our dependencies, this checkout and pip; its commands are first on PATH."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # 0 is how pip's environment variable says --no-build-isolation: the build backend is there, and no index is.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment = {**clean, **offline, "PATH": f"{folder}/bin:{os.environ['PATH']}", "COLUMNS": "160"}
    install = ["pip", "install", "--quiet", "--no-deps", "--force-reinstall", "--editable", str(ROOT)]
    shell(install, tmp_path, environment)
    return environment


def shell(command: str | list[str], cwd: Path, environment: dict[str, str]) -> str:
    """Its standard output; the test fails with all that it said when it does."""
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_page_takes_a_reader_from_nothing_to_a_run(environment, tiny_model, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    said, printed = "", {}
    text = section("Your own, from nothing")
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        if kind == "sh":
            for line in content.splitlines():
                said = printed[line] = shell(line, work, environment)
        elif kind:
            name = re.findall(r"`([\w./]+\.\w+)`", text[: block.start()])[-1]  # the file that was named last
            assert (work / name).parent.is_dir(), name
            (work / name).write_text(with_model(content, tiny_model) if kind == "yaml" else content)
        else:
            assert said == content  # what the page says is printed
    assert len(printed) == 7
    assert "5 of 5 gold cases" in printed["prerlkit verifiers test rhyme"]
    assert "no attack scores above 0" in printed["prerlkit verifiers audit mine.yaml"]
    assert "one line twice" in printed["prerlkit verifiers audit mine.yaml"]
    (plugin,) = (tmp_path / "venv").glob("lib/python*/site-packages/prerlkit_rhyme/rhyme.py")
    assert str(plugin) in printed["prerlkit verifiers show rhyme"]
    recipe = (work / "runs" / "couplets" / "recipe.yaml").read_text()
    assert "name: rhyme" in recipe
    summary = json.loads((work / "runs" / "couplets" / "summary.json").read_text())
    assert (summary["exit_reason"], summary["steps"]) == ("completed", 2)
    reasons = {
        completion["reason"]
        for line in (work / "runs" / "couplets" / "samples.jsonl").read_text().splitlines()
        for completion in json.loads(line)["completions"]
    }
    assert any("lines" in reason for reason in reasons), "the plugin judged none of the samples"
    shell("python -m pytest -q -p no:cacheprovider rhyme/tests", work, environment)


def with_model(recipe: str, tiny_model: Path) -> str:
    data = YAML(typ="safe", pure=True).load(recipe)
    return json.dumps({**data, "model": {"id": str(tiny_model), "dtype": "float32", "device": "cpu"}})


def test_the_one_liner_on_the_page_works(tmp_path):
    from prerlkit.verify import VerifierInput
    from prerlkit.verify.registry import make

    text = PAGE.split("\n### One-liners\n")[1].split("\n## ")[0]
    code, marked = [content for kind, content in BLOCK.findall(text) if kind == "python"]
    (tmp_path / "rewards.py").write_text(code)
    (tmp_path / "marked.py").write_text(marked)
    assert make("marked.py:brief", {}, tmp_path).judge(VerifierInput("", "It is 4", "4")).passed
    verifier = make("rewards.py:brief", {}, tmp_path)
    assert verifier.judge(VerifierInput("", "It is 4", "4")).passed
    assert verifier.judge(VerifierInput("", "It is 4 " * 100, "4")).passed is False
    assert verifier.needs_answer


def test_every_built_in_verifier_has_a_section_with_all_its_settings():
    from prerlkit.verify.registry import FoundVerifier, known

    built_in = [f for f in known().values() if isinstance(f, FoundVerifier) and "prerlkit.verifiers" in f.origin]
    assert len(built_in) >= 8
    for found in built_in:
        own = PAGE if found.name == "python" else section(found.name)
        missing = [name for name in found.verifier.Settings.model_fields if f"`{name}`" not in own]
        assert missing == [], found.name
