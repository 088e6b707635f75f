"""One catalogue: what a step records is in it, its page is generated from it, and no other file spells a name."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import prerlkit
from prerlkit.metrics.catalogue import CATALOGUE, OF_EVALUATIONS, OF_STEPS, STAGE, STEP
from prerlkit.metrics.metric import Metric, find, with_current_names
from prerlkit.probes.registry import known_probes
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.train.metrics import rollout_metrics, update_metrics
from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.train.step import UpdateStats

PACKAGE = Path(prerlkit.__file__).resolve().parent
DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_a_step_records_what_the_catalogue_has_and_nothing_else():
    sampled = rollout_metrics(RolloutBatch((), 0.0, 0.0), [VerifierConfig(name="math")])
    recorded = {**sampled, **update_metrics(UpdateStats(), 0.0, 0.0, 0.0)}
    always = {metric.name for metric in OF_STEPS if not metric.optional}
    assert {STEP.name, STAGE.name, *recorded} == always


def test_names_are_unique_also_those_of_probes():
    names = [
        name
        for metric in (*CATALOGUE, *(m for probe in known_probes() for m in probe.metrics))
        for name in metric.names
    ]
    assert len(names) > 70
    assert sorted(names) == sorted(set(names))


def test_tables_on_the_pages_are_the_programs():
    """To write them: python docs/tables.py"""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    found = {page.name: len(tables.TABLE.findall(page.read_text(encoding="utf-8"))) for page in DOCS.glob("*.md")}
    assert sorted(name for name, count in found.items() if count) == sorted(tables.PAGES)
    assert found["metrics.md"] >= 2
    assert found["verifiers.md"] >= 12
    for name in tables.PAGES:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert tables.generated(text) == text, name


def test_only_the_catalogue_spells_a_name():
    """A renamed metric is renamed in one place."""
    names = {metric.name for metric in CATALOGUE if "/" in metric.name}
    beginnings = {metric.name.partition("<")[0] for metric in CATALOGUE if "<" in metric.name} - {"eval/"}
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("metrics", "probes"):
            continue
        found += [
            f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (node.value in names or (node.value in beginnings and node.value != "reward/"))
        ]
    assert found == []


def test_the_part_that_varies():
    own = Metric("time/probe/<name>", "one probe")
    assert own.of("drift") == "time/probe/drift"
    assert own.matches("time/probe/drift")
    assert not own.matches("time/probes")
    kinds = Metric("thoughts/<kind>_ratio", "by kind", parts=("one", "two"))
    assert kinds.names == ("thoughts/one_ratio", "thoughts/two_ratio")
    assert find("eval/pass@16", OF_EVALUATIONS).is_share
    assert find("nothing/like", CATALOGUE) is None


def test_times_and_memory_are_not_repeatable():
    assert {m.name.partition("/")[0] for m in OF_STEPS if not m.repeatable} == {"time", "memory"}


def an_old_run(folder: Path) -> Path:
    """A folder whose metrics have the names of an earlier version."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text("name: old\n")
    lines = [{"step": n, "stage": "rl", "time/hand_over": 0.5 * n, "time/rollout": 2.0} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_runs_of_earlier_versions_are_read_under_todays_names(tmp_path):
    from prerlkit.report.times import times
    from prerlkit.runs.run import Run
    from prerlkit.runs.writer import RunWriter

    folder = an_old_run(tmp_path / "old")
    assert with_current_names({"time/hand_over": 1.0, "step": 3}) == {"time/weight_sync": 1.0, "step": 3}
    run = Run.open(folder)
    assert [step["time/weight_sync"] for step in run.steps] == [0.5, 1.0]
    assert all("time/hand_over" not in step for step in run.steps)
    assert [metrics["time/weight_sync"] for _, metrics in RunWriter(folder).read_history()] == [0.5, 1.0]
    found = times(run)
    assert dict(zip(found.phases, found.stages[0][2], strict=True)) == {"weight sync": 1.5, "rollout": 2.5}
