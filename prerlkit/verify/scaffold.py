"""Starts a verifier plugin: a package that installs, is found by its name, and passes its test as it stands."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from prerlkit.errors import UsageError
from prerlkit.verify.registry import known

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "prerlkit-$dashed"
version = "0.1.0"
description = "The verifier $name for prerlkit"
requires-python = ">=3.11"
dependencies = ["prerlkit"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points."prerlkit.verifiers"]
$name = "$package.$name:$class_name"

[tool.hatch.build.targets.wheel]
packages = ["$package"]
"""

_VERIFIER = '''\
"""What the verifier $name checks, in a sentence. `prerlkit verifiers show $name` prints this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prerlkit.settings import Bool
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput


class ${class_name}Settings(Settings):
    """What a recipe may set. The text under a setting is its documentation."""

    ignore_case: Bool = True
    """Compare answer and gold answer whatever their case."""


class $class_name(Verifier):
    """Passes a completion whose last line is the gold answer."""

    name = "$name"
    Settings = ${class_name}Settings
    settings: ${class_name}Settings

    def judge(self, sample: VerifierInput) -> Verdict:
        lines = sample.completion.strip().splitlines()
        if not lines:
            return Verdict.of(False, "no answer found")
        answer = lines[-1].strip()
        right = self._bare(answer) == self._bare(sample.answer or "")
        return Verdict.of(right, "" if right else "another answer", answer=answer)

    def _bare(self, text: str) -> str:
        return text.strip().casefold() if self.settings.ignore_case else text.strip()

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        """How a right completion ends. It is tried on the data's gold answers before a run."""
        return f"Let me see.\\n{answer}"

    gold = (
        GoldCase("I think it is\\nParis", "pass", "Paris"),
        GoldCase("I think it is\\nparis", "pass", "Paris"),
        GoldCase("I think it is\\nparis", "fail", "Paris", settings={"ignore_case": False}),
        GoldCase("I think it is\\nRome", "fail", "Paris"),
        GoldCase("", "fail", "Paris"),
        GoldCase("Paris", "unjudged"),  # no gold answer in the row
    )
'''

_TEST = '''\
"""The verifier's own gold cases come out as they say, and prerlkit finds it by its name once it is installed."""

from prerlkit.verify.gold import failures
from prerlkit.verify.registry import find

from $package.$name import $class_name


def test_gold_cases():
    assert failures($class_name) == []


def test_prerlkit_finds_it():
    assert find("$name") is $class_name
'''

_README = """\
# prerlkit-$dashed

The verifier `$name` for prerlkit.

```sh
pip install -e '.[test]'
pytest
prerlkit verifiers test $name
```

In a recipe:

```yaml
verifiers:
  - name: $name
    settings: {ignore_case: true}
```
"""


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write a plugin package for the verifier `name` into `folder`, which must not exist or be empty.

    Returns:
        The files written.

    Raises:
        UsageError: the name can't be a Python module's or is taken, or the folder is in use.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"\"{name}\" can't be a verifier's name", "Use lower case letters, digits and _, a letter first: rhyme_2."
        )
    if name in known():
        raise UsageError(f'a verifier is named "{name}" already: {known()[name].origin}', "Choose another name.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty.", "Give another --folder.")
    package = f"prerlkit_{name}"
    words = {
        "name": name,
        "package": package,
        "dashed": name.replace("_", "-"),
        "class_name": "".join(part.capitalize() for part in name.split("_")),
    }
    files = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"{package}/__init__.py": '"""The verifier $name for prerlkit."""\n',
        f"{package}/{name}.py": _VERIFIER,
        f"tests/test_{name}.py": _TEST,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(Template(text).substitute(words), encoding="utf-8")
    return [folder / path for path in files]
