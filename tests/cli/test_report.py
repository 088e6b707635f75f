"""`prerlkit report` as a person types it, on a run that was really made."""

import pytest


@pytest.fixture
def finished(invoke, recipe_file, tmp_path):
    done = invoke("run", recipe_file(), "-o", "run", "-q")
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_a_finished_run_gets_its_page_and_can_still_be_gone_on_with(finished, invoke, recipe_file):
    done = invoke("report", finished)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{finished / 'report.html'}  (0.")
    text = (finished / "report.html").read_text(encoding="utf-8")
    for words in ("Greedy accuracy on held-out", "4 of 4", "nsr-prerl", "What was run", "must_match"):
        assert words.lower() in text.lower()
    assert invoke("run", recipe_file(), "-o", "run", "--resume", "-q").returncode == 0
    assert invoke("report", finished, finished, "-o", "both.html").returncode == 0
    assert "2 runs" in (finished.parent / "both.html").read_text(encoding="utf-8")


def test_without_a_browser_the_page_has_an_address_to_open(finished, invoke, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    done = invoke("report", "run", "--open")
    assert done.returncode == 0
    assert f"open {(finished / 'report.html').resolve().as_uri()} yourself" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "not a run folder"),
        (["."], "not a run folder"),
        (["x", "--port", "1"], "belongs to --watch"),
        (["x", "--watch", "-o", "y"], "writes no file"),
    ],
)
def test_bad_input_is_told_in_a_line(invoke, arguments, words):
    done = invoke("report", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_can_not_be_written_is_told(invoke, finished):
    done = invoke("report", finished, "-o", "/proc/report.html")
    assert done.returncode == 1
    assert "can't be written" in done.stderr
    done = invoke("report", finished, "-o", ".")
    assert done.returncode == 2
    assert "is a folder" in done.stderr
