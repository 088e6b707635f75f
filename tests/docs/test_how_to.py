"""Each block of docs/how-to and docs/first-hour.md is executed in its order, as a reader would paste it.

A block of YAML replaces sections of mine.yaml, which begins as `prerlkit recipes init` writes it. A block with a title
is a file. The recipe is checked as the page has it; commands then run on it with a tiny model and a step of few tokens.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from prerlkit.cli.app import app
from prerlkit.recipe.load import load, locate

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs" / "how-to").glob("*.md"), ROOT / "docs" / "first-hour.md"])
BLOCK = re.compile(
    r'(?:<!-- not run: ([^>]+) -->\n)?^```(\w*)(?: title="([\w.]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE
)
JUDGE = "http://127.0.0.1:8001/v1"
FEW = {
    "rollout.group_size": 2,
    "rollout.prompts_per_step": 2,
    "rollout.max_new_tokens": 8,
    "evaluation.prompts": 2,
}
"""What is smaller when a recipe runs here."""


def blocks(page: Path) -> list[tuple[str, str, str, str]]:
    """Return (reason why it isn't run, language, title, text) of each block."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


class Reader:
    """Pastes a page's blocks into an empty folder.

    Args:
        model: a folder that takes the place of the page's model.
        judge: an address that takes the place of the page's.
    """

    def __init__(self, model: Path, judge: str) -> None:
        self._model, self._judge = model, judge
        self._recipe = YAML(typ="safe", pure=True).load(locate("quickstart_dsrl").read_text(encoding="utf-8"))

    def do(self, language: str, title: str, text: str) -> None:
        """Do what a block asks for."""
        text = text.replace(JUDGE, self._judge)
        if title:
            Path(title).write_text(text, encoding="utf-8")
        elif language == "yaml":
            self._recipe.update(YAML(typ="safe", pure=True).load(text))
            self.write()
        elif language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                self._command(shlex.split(line, comments=True))
        elif language == "python":
            exec(compile(text, "a block", "exec"), {})
        else:
            raise AssertionError(f"a block of {language or 'no language'} without a title: say what it is")

    def write(self) -> None:
        """Check the recipe as the page has it, and write a small one."""
        _dump(self._recipe)
        load("mine.yaml")
        small = {**self._recipe, "adapter": {"rank": 2, "alpha": 4}, "stages": []}
        small["model"] = {**self._recipe["model"], "id": str(self._model), "dtype": "float32", "quantization": "none"}
        small["model"].pop("sha256", None)
        for key, value in FEW.items():
            section, name = key.split(".")
            small[section] = {**small.get(section, {}), name: value}
        small["evaluation"].pop("max_new_tokens", None)
        small["stages"] = [{**stage, "steps": 1} for stage in self._recipe["stages"]]
        _dump(small)

    def _command(self, words: list[str]) -> None:
        if not words:
            return
        assert words.pop(0) == "prerlkit", f"only prerlkit's commands are run here: {words}"
        words = [re.sub(r"(\.steps)=\d+$", r"\1=2", word) for word in words]
        if words[0] == "run" and not words[1].endswith(".yaml"):  # a packaged recipe, whose model is tiny already
            stages = [f"stages.{stage.name}.steps=1" for stage in load(words[1]).recipe.stages]
            words += [part for key in [*stages, *(f"{k}={v}" for k, v in FEW.items())] for part in ("--set", key)]
        done = CliRunner().invoke(app, words)
        assert done.exit_code in ((0, 1) if words[0] == "doctor" else (0,)), f"{words}\n{done.output}"
        if words[:2] == ["recipes", "init"]:
            self._recipe = YAML(typ="safe", pure=True).load(Path("mine.yaml").read_text(encoding="utf-8"))
            self.write()


def _dump(recipe: dict) -> None:
    with Path("mine.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(recipe, file)


@pytest.fixture(scope="module")
def stub():
    """A judge on this machine that knows the reference answer of each question."""
    spec = importlib.util.spec_from_file_location("stub_judge", ROOT / "tests" / "verifiers" / "stub_judge.py")
    stub_judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stub_judge)

    def answer(message: str) -> str:
        known = re.search(r"reference answer is: (.*)", message, re.IGNORECASE)
        said = stub_judge.judged(message).strip()
        right = said == known[1].strip() if known else "Paris" in said
        return f"Score: {int(right)}"

    with stub_judge.serving(answer) as judge:
        yield judge


@pytest.fixture
def reader(tiny_model, stub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    return Reader(tiny_model, stub.url)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_it_is_written(page, reader, capsys):
    to_do = [block for block in blocks(page) if not block[0]]
    assert to_do
    if not any("recipes init" in text for *_, text in to_do):
        reader.write()
    for _, language, title, text in to_do:
        reader.do(language, title, text)


def test_few_blocks_are_not_run_and_each_has_a_reason():
    reasons = [block[0] for page in PAGES for block in blocks(page) if block[0]]
    assert len(reasons) <= 5
    assert all(len(reason.split()) >= 3 for reason in reasons)
    fences = sum(len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) for page in PAGES)
    assert fences == 2 * sum(len(blocks(page)) for page in PAGES), "a block that isn't read"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_its_code_is_narrow(page):
    """At 1280 pixels a block of the site shows 79 columns."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    assert 80 <= len(text.split()) <= 300
    wide = [line for *_, code in blocks(page) for line in code.splitlines() if len(line) > 79]
    assert wide == []


def test_a_wrong_key_a_wrong_command_and_a_failing_script_are_found(reader):
    reader.write()
    with pytest.raises(Exception, match="group_sise: unknown key"):
        reader.do("yaml", "", "rollout: {group_sise: 4}")
    with pytest.raises(AssertionError, match="no-such-verifier"):
        reader.do("sh", "", "prerlkit verifiers test no-such-verifier")
    with pytest.raises(KeyError):
        reader.do("python", "", "{}['reward/maen']")
