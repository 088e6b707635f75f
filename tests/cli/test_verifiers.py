"""`prerlkit verifiers` as a person and a program use it: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WRONG = '''
"""A verifier with a wrong gold case."""
from prerlkit.verify import GoldCase, Verdict, Verifier

class Shout(Verifier):
    """Passes capitals."""
    name = "shout"
    needs_answer = False
    def judge(self, sample):
        print("noise on stdout")
        return Verdict.of(sample.completion.isupper())
    gold = (GoldCase("HO", "pass"), GoldCase("ho", "pass"), GoldCase("x", "fail"))
'''


@pytest.fixture
def plugins(tmp_path):
    """A folder verifiers/ with one that works, and one that can't be imported."""
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "shout.py").write_text(WRONG)
    (tmp_path / "verifiers" / "bad.py").write_text("import nothing_of_that_name\n")


@pytest.mark.usefixtures("plugins")
def test_list_shows_all_and_a_broken_ones_own_error(invoke):
    done = invoke("verifiers", "list", "--trust")
    assert done.returncode == 0
    for said in ("math", "reasoning_gym", "shout", "Passes capitals.", "verifiers/shout.py"):
        assert said in done.stdout
    assert "broken: bad" in done.stdout
    assert "No module named 'nothing_of_that_name'" in done.stdout


def test_show_prints_settings_with_types_defaults_and_words(invoke):
    said = invoke("verifiers", "show", "length").stdout
    for part in (
        "max_tokens",
        "whole number, ≥ 1",
        "required",
        "whole number | null",
        "L_max",
        "gold answer: not needed",
    ):
        assert part in said
    assert "gold cases: 4 must be pass, 2 must be fail, 1 must be unjudged" in said
    assert "auto | boxed | tag | last_line" in invoke("verifiers", "show", "choice").stdout
    assert "[think, answer]" in invoke("verifiers", "show", "format").stdout


def test_an_unknown_verifier_gets_the_nearest(invoke):
    for command in ("show", "test"):
        done = invoke("verifiers", command, "mth")
        assert done.returncode == 2
        assert 'no verifier is named "mth"; did you mean "math"' in done.stderr


@pytest.mark.usefixtures("plugins")
def test_test_runs_gold_cases_and_exits_by_the_outcome(invoke):
    done = invoke("verifiers", "test", "choice")
    assert done.returncode == 0
    assert "27 of 27 gold cases come out as they say" in done.stdout
    assert "ms (median)" in done.stdout
    done = invoke("verifiers", "test", "shout", "--trust")
    assert done.returncode == 1
    assert "gold case 2 must be pass, is fail" in done.stdout
    assert "2 of 3 gold cases" in done.stdout
    done = invoke("verifiers", "test", "choice", "--set", "options=2")
    assert done.returncode == 1
    done = invoke("verifiers", "test", "choice", "--set", "optoins=2")
    assert done.returncode == 2
    assert 'no setting optoins; did you mean "options"' in done.stderr


@pytest.mark.usefixtures("plugins")
def test_rows_as_json_print_verdicts_and_nothing_else_on_stdout(prerlkit, tmp_path):
    rows = [{"completion": text} for text in ("HO", "ho", "\ud800", "A\x00B", "X" * 2**20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = prerlkit("verifiers", "test", "shout", "--rows", "rows.jsonl", "--json", "--trust")
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(verdict) for verdict in verdicts] == [["score", "passed", "reason"]] * 5
    assert [verdict["passed"] for verdict in verdicts] == [True, False, False, True, True]
    assert "noise" in done.stderr


def test_unjudged_rows_are_null(invoke, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"completion": "4"}\n{"completion": "4", "answer": 4}\n')
    done = invoke("verifiers", "test", "math", "--rows", "rows.jsonl", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"score": None, "passed": None, "reason": "no gold answer"}
    assert second["score"] == 1.0
    done = invoke("verifiers", "test", "math", "--rows", "rows.jsonl", "--set", "extract=boxed")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["1", "unjudged", "no", "gold", "answer"],
        ["2", "fail", "0.000", "no", "answer", "found"],
    ]


def test_a_bad_row_a_bad_setting_and_a_missing_file(invoke, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"completion": "4"}\n{"complection": "4"}\n')
    for args, said in (
        (["math", "--rows", "rows.jsonl", "--json"], "rows.jsonl, line 2: the row has no completion"),
        (["math", "--rows", "none.jsonl"], "none.jsonl can't be read"),
        (["math", "--rows", "rows.jsonl", "--set", "extract"], "not of the form path=value"),
    ):
        done = invoke("verifiers", "test", *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_new_starts_a_package_that_passes_its_own_test(invoke, tmp_path):
    done = invoke("verifiers", "new", "half_rhyme", "--folder", "mine")
    assert done.returncode == 0, done.stderr
    assert "prerlkit verifiers test half_rhyme" in done.stdout
    code = (
        "import sys; sys.path.insert(0, 'mine'); from prerlkit_half_rhyme.half_rhyme import HalfRhyme as V;"
        "from prerlkit.verify.gold import failures; print(failures(V), V.name)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[] half_rhyme\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["math"], 'a verifier is named "math" already'),
        (["Half-Rhyme"], "can't be a verifier's name"),
        (["class"], "can't be a verifier's name"),
        (["rhyme", "--folder", "full"], "full exists and is not empty"),
    ],
)
def test_new_refuses_names_that_cannot_be_and_folders_in_use(invoke, tmp_path, args, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    done = invoke("verifiers", "new", *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["full", "thesis.tex"]


def test_audit_exits_by_its_threshold(invoke, recipe_file, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"question": "q{a}", "answer": "{a}"}}\n' for a in "ABCD"))
    data = {"train": {"kind": "file", "path": "rows.jsonl"}, "eval": {"kind": "held_out", "rows": 1}}
    path = recipe_file(data=data, verifiers=[{"name": "choice", "weight": 3.0}, {"name": "format"}])
    done = invoke("verifiers", "audit", path)
    assert done.returncode == 1
    assert "tags around a dot" in done.stdout
    assert "attacks score above 0\n" in done.stdout
    done = invoke("verifiers", "audit", path, "--threshold", "0.25", "--json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert (result["over"], result["lines"][0]["name"], result["lines"][0]["score"]) == ([], "gold", 1.0)


def test_audit_needs_no_model(invoke, recipe_file):
    verifiers = [{"name": "regex", "settings": {"pattern": r"\A= (.*)"}}]
    done = invoke("verifiers", "audit", recipe_file(model={"id": "no/such-model"}, verifiers=verifiers))
    assert done.returncode == 0, done.stderr


def test_list_and_show_need_no_permission_for_a_judge_that_sends_nothing_yet(invoke):
    listed = invoke("verifiers", "list")
    assert "judge" in listed.stdout
    assert "broken" not in listed.stdout
    assert invoke("verifiers", "show", "judge").returncode == 0
