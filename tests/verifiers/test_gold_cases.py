"""Every built-in verifier judges its own gold cases as it says it does."""

from importlib import metadata
from pathlib import Path

import pytest

from prerlkit.plugins import import_file
from prerlkit.sandbox.host import tried
from prerlkit.verify.gold import failures
from prerlkit.verify.registry import FoundVerifier, known

BUILT_IN = [
    found for found in known().values() if isinstance(found, FoundVerifier) and "prerlkit.verifiers" in found.origin
]


def test_the_built_in_verifiers_are_found() -> None:
    assert {"code", "math", "regex"} <= {found.name for found in BUILT_IN}


@pytest.mark.parametrize("found", BUILT_IN, ids=lambda found: found.name)
def test_gold_cases(found: FoundVerifier) -> None:
    if found.verifier.resources == "sandbox" and all(whys := [tried("bubblewrap"), tried("landlock")]):
        pytest.skip("; ".join(whys))
    if found.name == "environment" and not list(metadata.distributions(name="verifiers")):
        pytest.skip("the PyPI package verifiers is not installed; .ci/run tests with it")
    if found.name == "judge":
        stubs = import_file(Path(__file__).with_name("stub_judge.py"), "tests")
        with stubs.serving(stubs.knows_paris) as stub:
            assert failures(found.verifier, {"url": stub.url, "model": "m"}) == []
        return
    assert failures(found.verifier) == []
