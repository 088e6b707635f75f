"""The README's pictures: small, of the right size, and with nothing of the machine that they were made on."""

from __future__ import annotations

import importlib.util
import re
import struct
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SVG, PNG = DOCS / "images" / "terminal.svg", DOCS / "images" / "report.png"


@pytest.fixture(scope="module")
def pictures():
    """docs/pictures.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_report_is_small_and_1280_pixels_wide(pictures):
    data = PNG.read_bytes()
    assert len(data) <= 150_000
    assert struct.unpack(">II", data[16:24]) == pictures.REPORT


def test_the_terminal_asks_no_other_host_and_has_no_path_of_a_machine():
    svg = SVG.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w.]+", svg)) == {
        "http://www.w3.org",
        "https://www.textualize.io",
    }  # rich's credit
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", svg)
    assert "font-face" not in svg
    for word in ("prerlkit&#160;run&#160;reach_dsrl", "what&#160;each&#160;stage&#160;did", "after&#160;warmup"):
        assert word in svg


def test_the_picture_is_of_the_last_steps_and_the_end(pictures):
    steps = [f"rl  {n:>2}/25  reward 0.1" for n in range(1, 26)]
    lines = [
        "stage rl, 25 steps",
        *steps,
        "eval after rl",
        "\x1b[1mlook at it\x1b[0m   prerlkit report runs/x",
        "load it with:",
    ]
    shown = pictures.shown_lines(lines)
    assert shown == [*steps[-pictures.STEPS :], *lines[-3:-1]]
    svg = pictures.terminal_svg(shown)
    assert "25/25" in svg
    assert "load" not in svg
    assert "font-face" not in svg
