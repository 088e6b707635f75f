"""Verifiers are found by name, by folder and by path, and what is wrong with one is said plainly."""

from __future__ import annotations

from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.verify.registry import BrokenVerifier, FoundVerifier, find, known, make

GOOD = """
from prerlkit.verify import Settings, Verdict, Verifier

class PoemSettings(Settings):
    lines: int = 4

class Poem(Verifier):
    name = "poem"
    Settings = PoemSettings
    def judge(self, sample): return Verdict.of(sample.completion.count("\\n") == self.settings.lines)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "poem.py").write_text(GOOD)
    return tmp_path


def test_built_in_verifiers_are_found_without_an_installation() -> None:
    assert find("math").__module__ == "prerlkit.verifiers.math"


def test_a_file_beside_the_recipe_is_found_by_its_name(folder: Path) -> None:
    assert find("poem", folder).name == "poem"
    assert isinstance(known(folder)["poem"], FoundVerifier)
    assert "poem" not in known()


@pytest.mark.parametrize("name", ["verifiers/poem.py:Poem", "verifiers/poem.py"])
def test_a_path_is_taken_from_the_recipes_folder(folder: Path, name: str) -> None:
    assert find(name, folder) is find("poem", folder)


def test_a_path_that_is_not_there_says_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no file verifiers/prose\.py or .*verifiers/prose\.py"):
        find("verifiers/prose.py:Prose", folder)


def test_an_unknown_name_gets_the_nearest_one(folder: Path) -> None:
    with pytest.raises(UsageError, match='no verifier is named "peom"; did you mean "poem"'):
        find("peom", folder)


def test_two_verifiers_of_one_name_are_both_named(folder: Path) -> None:
    (folder / "verifiers" / "math.py").write_text(GOOD.replace('"poem"', '"math"'))
    with pytest.raises(
        UsageError, match=r'two verifiers are named "math": .*prerlkit\.verifiers\.math.* and .*math\.py'
    ):
        find("math", folder)
    broken = known(folder)["math"]
    assert isinstance(broken, BrokenVerifier)
    assert "two verifiers" in broken.error


def test_one_file_reached_twice_is_one_verifier() -> None:
    checkout = Path(__file__).parents[2]
    assert find("math", checkout) is find("math")


def test_a_broken_plugin_shows_its_own_error_and_hides_nothing_else(folder: Path) -> None:
    (folder / "verifiers" / "bad.py").write_text("x = 1\nraise RuntimeError('on purpose')\n")
    listed = known(folder)
    assert isinstance(listed["bad"], BrokenVerifier)
    assert "RuntimeError: on purpose" in listed["bad"].error
    assert "bad.py, line 2" in listed["bad"].error
    assert isinstance(listed["poem"], FoundVerifier)
    with pytest.raises(UsageError, match="on purpose"):
        find("bad", folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace('"poem"', '"prose"'), 'holds a verifier named "prose", but is called "poem"'),
        ("x = 1\n", "holds 0 verifier classes"),
        (GOOD.replace("def judge", "def jugde"), "needs a `name` and a `judge` method"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "poem.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        find("poem", tmp_path)


def test_settings_are_checked_by_the_verifiers_own_class(folder: Path) -> None:
    assert make("poem", {"lines": 2}, folder).settings.model_dump() == {"lines": 2}
    with pytest.raises(UsageError, match='verifier "poem" has no setting line; did you mean "lines"'):
        make("poem", {"line": 2}, folder)
    with pytest.raises(UsageError, match=r"setting lines: Input should be a valid integer.*not .many."):
        make("poem", {"lines": "many"}, folder)


@pytest.mark.parametrize("file", ["broken_gold.py"])
def test_gold_cases_that_do_not_hold_are_reported(tmp_path: Path, file: str) -> None:
    from prerlkit.verify.gold import failures

    path = tmp_path / file
    cases = 'gold = (GoldCase("a", "fail", "1"), GoldCase("b", "unjudged"))\n    def judge'
    path.write_text(
        GOOD.replace("import Settings", "import GoldCase, Settings")
        .replace("def judge", cases)
        .replace('"poem"', '"broken_gold"')
        .replace('count("\\n") == self.settings.lines', 'startswith("a")')
    )
    wrong = failures(find(str(path)))
    assert len(wrong) == 2
    assert "has no gold case that must pass" in wrong[0]
    assert "gold case 1 must be fail, is pass" in wrong[1]
