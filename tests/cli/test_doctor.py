"""`prerlkit doctor` on this host, and as it would be on others."""

from __future__ import annotations

import json

import pytest

from prerlkit.doctor.check import Bench, FailedError, SkippedError, run_checks, within
from prerlkit.errors import UsageError
from prerlkit.sandbox.host import tried


def test_it_says_which_layer_is_used(prerlkit) -> None:
    done = prerlkit("doctor")
    used = next((name for name in ("bubblewrap", "landlock") if not tried(name)), None)
    assert done.returncode == (0 if used else 1), done.stderr
    assert f"used              {used or 'none'}" in done.stdout
    assert "gap  " in done.stdout or used is None


@pytest.mark.parametrize(
    ("works", "code", "said"),
    [
        ({"bubblewrap": "", "landlock": ""}, 0, "used              bubblewrap"),
        ({"bubblewrap": "bwrap is not installed", "landlock": ""}, 0, "used              landlock"),
        ({"bubblewrap": "no namespaces", "landlock": "no Landlock"}, 1, "the verifier `code` refuses to run"),
    ],
)
def test_on_other_hosts(invoke, monkeypatch, works, code, said) -> None:
    installed = "not installed" not in works["bubblewrap"]
    monkeypatch.setattr("prerlkit.sandbox.host.tried", works.__getitem__)
    monkeypatch.setattr("prerlkit.sandbox.host.bwrap", lambda: "/bin/true" if installed else None)
    done = invoke("doctor")
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
    assert ("apt-get install -y bubblewrap" in done.stdout) is not installed
    assert ("sandbox: NOT USABLE" in done.stdout) is (code == 1)


def test_everything_works_here_and_a_report_says_so(prerlkit, tmp_path):
    done = prerlkit("doctor", "--run", "--json", str(tmp_path / "doctor.json"))
    said = json.loads((tmp_path / "doctor.json").read_text())
    checks = {check["name"]: check for check in said["checks"]}
    assert {check["verdict"] for check in checks.values()} <= {"ok", "skipped"}, done.stdout
    assert checks["stop and resume"]["figures"]["largest difference"] == 0
    assert checks["rollouts: hf"]["verdict"] == checks["load: nf4"]["verdict"] == "ok"
    assert sum(check["seconds"] for check in checks.values()) < 180
    assert "packages" in said["machine"]
    assert str(tmp_path) not in json.dumps(said)


def test_what_a_check_raises_is_its_result(tmp_path):
    def out_of_bounds(bench):
        figures = {"drift": 3.0}
        within(figures, "drift", 1.0)
        return figures

    def broken(bench):
        raise ZeroDivisionError("by zero")

    def absent(bench):
        raise SkippedError("not installed")

    def refused(bench):
        raise UsageError("no such thing", "install it")

    def not_a_number(bench):
        figures = {"drift": float("nan")}
        within(figures, "drift", 1.0)
        raise AssertionError

    asked = {"fine": lambda bench: {"x": 1.0}, "far": out_of_bounds, "broken": broken, "absent": absent}
    asked |= {"refused": refused, "nan": not_a_number}
    found = {result.name: result for result in run_checks(asked, Bench(tmp_path, tmp_path, "cpu"))}
    verdicts = {name: result.verdict for name, result in found.items()}
    assert verdicts == {
        "fine": "ok",
        "far": "FAILED",
        "broken": "FAILED",
        "absent": "skipped",
        "refused": "FAILED",
        "nan": "FAILED",
    }
    assert found["far"].figures == {"drift": 3.0}
    assert found["broken"].note == "ZeroDivisionError: by zero"
    assert found["refused"].note == "no such thing"
    assert FailedError("x", {"a": 1.0}).figures == {"a": 1.0}
