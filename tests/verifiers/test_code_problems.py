"""The code verifier on a hundred generated problems: right solutions pass and empty bodies fail, in both layers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from prerlkit.sandbox.host import tried
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner

# Bodies of f(x) with a number K in them, and arguments to try.
FAMILIES = {
    "linear": ("    return K * x + 1\n", [0, 1, -5, 10**20]),
    "power": ("    return x ** K\n", [0, 2, -3]),
    "mean": ("    return sum(x) / len(x) + K\n", [[1, 2], [0.5], [3, 4, 5]]),
    "multiples": ("    return [n for n in range(x) if n % (K + 1) == 0]\n", [0, 1, 30]),
    "rotate": ("    k = K % len(x) if x else 0\n    return x[k:] + x[:k]\n", [[], [1, 2, 3], "abcdef"]),
    "caesar": ("    return ''.join(chr((ord(c) - 97 + K) % 26 + 97) for c in x)\n", ["abc", "", "xyz"]),
    "counts": ("    d = {}\n    for c in x:\n        d[c] = d.get(c, 0) + K\n    return d\n", ["hello", "", "aa"]),
    "pair": ("    return (x, x + K, str(x))\n", [1, 2.5, -1]),
    "unique": ("    return {n % (K + 2) for n in x}\n", [[1, 2, 3], [], [10, 20, 30]]),
    "divides": ("    return x % (K + 1) == 0\n", [0, 1, 7, 12]),
    "nested": ("    return [[n] * K for n in range(x)] or None\n", [0, 1, 3]),
    "checked": ("    if x < 0:\n        raise ValueError(x)\n    return x + K\n", [1, 2, 0]),
}
HEAD = 'import math\nfrom typing import Any\n\ndef f(x: Any) -> Any:\n    """Family {}, K = {}."""\n'


def problems() -> Iterator[tuple[str, dict, str]]:
    """Name, row, right body: 108 of them, in turn as HumanEval's, as MBPP's, and as test functions."""
    for k in range(1, 10):
        for number, (family, (body, arguments)) in enumerate(FAMILIES.items()):
            head, solution = HEAD.format(family, k), body.replace("K", str(k))
            asserts = [assertion(head + solution, argument) for argument in arguments]
            match (number + k) % 3:
                case 0:
                    test = "def check(candidate):\n    f = candidate\n    " + "\n    ".join(asserts)
                    row = {"prompt": head, "entry_point": "f", "test": test}
                case 1:
                    row = {"text": "Write f.", "test_list": asserts, "test_setup_code": "import math", "code": ""}
                case _:
                    functions = [f"def test_{i}():\n    {one}\n" for i, one in enumerate(asserts)]
                    row = {"test": "from solution import f\nimport math\n" + "".join(functions)}
            yield f"{family}-{k}", row, head + solution


def assertion(source: str, argument: object) -> str:
    """An assert about one argument, with what the right solution gives."""
    names: dict = {}
    exec(source, names)
    value = names["f"](argument)
    if isinstance(value, float):
        return f"assert math.isclose(f({argument!r}), {value!r})"
    if isinstance(value, bool):
        return f"assert {'' if value else 'not '}f({argument!r}) and f({argument!r}) is {value}"
    return f"assert f({argument!r}) == {value!r}"


PROBLEMS = list(problems())
LAYERS = ("bubblewrap", "landlock")


def use(**settings: object) -> SimpleNamespace:
    return SimpleNamespace(name="code", settings=settings, environment=(), weight=1.0, timeout=20.0)


@pytest.mark.parametrize("layer", LAYERS)
def test_solutions_pass_and_empty_bodies_fail(layer: str) -> None:
    if why := tried(layer):
        pytest.skip(f"{layer}: {why}")
    assert len(PROBLEMS) >= 100
    samples = []
    for _, row, solution in PROBLEMS:
        head = solution[: solution.index('"""\n') + 4]
        samples += [
            VerifierInput("", f"```python\n{solution}```", None, row),
            VerifierInput("", f"{head}    pass\n", None, row),
        ]
    with Runner([use(layer=layer, case_seconds=5.0, total_seconds=15.0)], workers=2) as runner:
        verdicts = runner.judge(samples)
        assert runner.stats()["code"].judged == len(samples)
    wrong = [
        (PROBLEMS[i // 2][0], verdict.reason)
        for i, verdict in enumerate(verdicts)
        if verdict.passed is not (i % 2 == 0)
    ]
    assert wrong == []
