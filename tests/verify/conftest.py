"""Verifier plugins laid into the folder of a recipe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def write() -> Callable[[Path, str, str], None]:
    """`write(folder, name, text)`: a plugin that a recipe in the folder finds by its name."""

    def lay(folder: Path, name: str, text: str) -> None:
        (folder / "verifiers").mkdir(exist_ok=True)
        (folder / "verifiers" / f"{name}.py").write_text(textwrap.dedent(text))

    return lay


@pytest.fixture(scope="session")
def simple() -> Callable[..., str]:
    """`simple(name, body, extra="")`: the text of a plugin whose `judge` is `body`."""

    def text(name: str, body: str, extra: str = "") -> str:
        return (
            "import os, time\nfrom prerlkit.verify import VerifierInput, Verdict, Verifier\n\n"
            f"class Plugin(Verifier):\n    name = {name!r}\n    needs_answer = False\n{extra}\n"
            f"    def judge(self, sample):\n        {body}\n"
        )

    return text
