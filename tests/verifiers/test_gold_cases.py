"""Every built-in verifier judges its own gold cases as it says it does."""

import re
from pathlib import Path

import pytest

from prerlkit.sandbox.host import tried
from prerlkit.verify.gold import failures
from prerlkit.verify.registry import Found, find, known

BUILT_IN = [found for found in known().values() if isinstance(found, Found) and "prerlkit.verifiers" in found.origin]


def test_the_built_in_verifiers_are_found() -> None:
    assert {"code", "math", "regex"} <= {found.name for found in BUILT_IN}


@pytest.mark.parametrize("found", BUILT_IN, ids=lambda found: found.name)
def test_gold_cases(found: Found) -> None:
    if found.verifier.resources == "sandbox" and all(whys := [tried("bubblewrap"), tried("landlock")]):
        pytest.skip("; ".join(whys))
    assert failures(found.verifier) == []


def test_the_plugin_in_the_documentation_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "rhyme.py").write_text(blocks[0])
    assert failures(find("rhyme", tmp_path)) == []
