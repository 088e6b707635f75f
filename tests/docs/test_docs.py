"""The documentation keeps up: every key of a recipe, every metric, every preset and every command that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from prerlkit.objective.presets import PRESETS
from prerlkit.recipe.load import locate
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.train.metrics import rollout_metrics, update_metrics
from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.train.step import UpdateStats
from prerlkit.verify.registry import find

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_metric_is_defined_and_nothing_else():
    page = text("metrics.md").partition("## Evaluations")[0]
    defined = re.findall(r"^\| `([a-z_/<>]+)` \|", page, re.MULTILINE)
    one, two = (VerifierConfig(name="<verifier>"), VerifierConfig(name="regex"))
    updated = update_metrics(UpdateStats(), 0.0, 0.0, 0.0)
    recorded = {**rollout_metrics(RolloutBatch((), 0.0, 0.0), [one]), **updated}
    of_several = {**rollout_metrics(RolloutBatch((), 0.0, 0.0), [one, two]), **updated}
    assert sorted(set(of_several) - set(recorded)) == ["reward/<verifier>", "reward/regex"]
    by_name = ["reward/<verifier>", "stage/kl", "health/<name>", "probe/<name>", "time/probes", "time/probe/<name>"]
    by_name += ["refill/attempts", "refill/groups", "refill/filled"]
    by_name += ["difficulty/passed_over", "difficulty/known"]
    by_name += ["replay/share", "replay/age", "replay/weight"]
    assert sorted(defined) == sorted(["step", "stage", *by_name, *recorded])


def test_every_number_of_a_probe_is_defined_and_nothing_else():
    from prerlkit.probes.registry import known_probes

    page = text("probes.md")
    defined = set(re.findall(r"^\| `(probe/[a-z_0-9/<>]+)` \|", page, re.MULTILINE))
    assert defined == {metric.name for probe in known_probes() for metric in probe.metrics}


def test_every_place_names_the_same_times_for_the_first_runs():
    from prerlkit.cli.app import app

    def times(text: str) -> set[str]:
        return set(re.findall(r"\b(\w+ (?:to \w+ )?minutes)\b", text))

    reach, quickstart = "two minutes", "three to eight minutes"
    for place in ((ROOT / "README.md").read_text(encoding="utf-8"), app.info.epilog or ""):
        assert times(place) == {reach, quickstart}
    for name, time in {"reach_": reach, "quickstart_": quickstart}.items():
        for method in ("dsrl", "grpo"):
            assert times(locate(name + method).read_text(encoding="utf-8")) == {time}


def test_every_fault_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", text("reliability.md")))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) >= 20
    assert sorted(named - defined) == []
    faults = re.search(r"^## Faults$(.*?)^## ", text("reliability.md"), re.DOTALL | re.MULTILINE)[1]
    rows = [row for row in faults.splitlines() if row.startswith("| ") and not row.startswith("| fault")]
    assert len(rows) >= 15
    assert [row for row in rows if "`test_" not in row.split("|")[4]] == []


def test_every_condition_of_health_is_described():
    from typing import get_args

    from prerlkit.recipe.output import HealthName

    assert re.findall(r"^\| `(\w+)` \| ", text("reliability.md"), re.MULTILINE) == list(get_args(HealthName))


def test_every_preset_is_in_the_table():
    page = text("algorithms.md")
    assert [name for name in PRESETS if f"`{name}`" not in page] == []


def test_links_between_pages_lead_somewhere():
    assert len(PAGES) > 8
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown and GitHub make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_anchors_of_links_between_pages_exist():
    """The strict build of the site checks this too, where MkDocs is installed."""
    found = [
        (page, page if not target else (page.parent / target).resolve(), anchor)
        for page in PAGES
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(found) > 20
    assert [f"{page.name}: {to.name}#{anchor}" for page, to, anchor in found if anchor not in _anchors(to)] == []


def test_every_test_file_that_a_page_names_exists():
    existing = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    named = {
        (page.name, name)
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for name in re.findall(r"\b((?:tests/)?(?:\w+/)*test_\w+\.py)\b", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 40
    assert (
        sorted(
            pair for pair in named if not any(path.endswith("/" + pair[1].removeprefix("tests/")) for path in existing)
        )
        == []
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_name_options_and_recipes_that_exist(page):
    """Every `prerlkit …` in a code block parses; recipes that it names exist."""
    import typer

    from prerlkit.cli.app import app

    command = typer.main.get_command(app)
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("prerlkit ")]
    for line in lines:
        words = shlex.split(re.split(r"\s{2,}|\s+#|\s+>\s", line)[0].replace("[--resolved]", "--resolved"))[1:]
        words = [w for w in words if not w.startswith("[")]
        node, path = command, []
        while words and hasattr(node, "commands"):
            assert words[0] in node.commands, line
            path.append(words.pop(0))
            node = node.commands[path[-1]]
        known = {option for parameter in node.params for option in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("-"):
                assert word in known, line
        of_recipes = path in (["run"], ["recipes", "show"], ["recipes", "validate"], ["verifiers", "audit"])
        named = words[0] if of_recipes and words else "-"
        if path in (["verifiers", "show"], ["verifiers", "test"]) and words[0] != "rhyme":  # the page's own plugin
            find(words[0])
        if not named.startswith(("-", "NAME", "mine", "my.")):
            locate(str(ROOT / named) if named.startswith("recipes/") else named)
