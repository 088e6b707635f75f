"""The page as a file: escaped, self-contained, the same numbers in charts and tables."""

import base64
import hashlib
import json
import re
from importlib import resources

import pytest
from markupsafe import Markup

from prerlkit.page.chart import MOST_POINTS, Chart, ChartLine, Mark
from prerlkit.page.shell import Page, Section, table
from prerlkit.page.text import cut, plain, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\nc\n", "a\tb\nc\n"),
        ("\x1b[31m", "[U+001B][31m"),
        ("a\rb\x00", "a[U+000D]b[U+0000]"),
        ("\u202egnp.exe", "[U+202E]gnp.exe"),
        ("\ud800", "[U+D800]"),
        ("\u2028\ufeff\u200b", "[U+2028][U+FEFF][U+200B]"),
        ("漢字 مرحبا 🧑‍🚀", "漢字 مرحبا 🧑‍🚀"),
    ],
)
def test_what_acts_or_is_invisible_is_written_out(text, shown):
    assert visible(text) == shown
    shown.encode()


def test_a_long_text_keeps_its_beginning_and_its_end():
    assert cut("x" * 10, 10) == ("x" * 10, 0)
    short, left_out = cut("a" * 50 + "b" * 50, 40)
    assert short == "a" * 30 + "\n[…]\n" + "b" * 10
    assert left_out == 60


def test_plain_is_what_json_can_hold():
    assert plain({"a\x00": [float("nan"), float("inf"), 1.5, None, ("\ud800",)]}) == {
        "a[U+0000]": [None, None, 1.5, None, ["[U+D800]"]]
    }


def test_values_are_escaped_in_tables_and_in_data():
    bad = "</script><b>&\u2028"
    page = Page(bad, table(bad, [bad, "n"], [[bad, 1]]), (), data={"bad": bad}, footer=bad)
    text = page.render()
    assert "<b>" not in text
    assert text.count("&lt;/script&gt;&lt;b&gt;&amp;[U+2028]") >= 5
    data = re.search(r'<script type="application/json" id="prerlkit-data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data)["data"] == {"bad": "</script><b>&[U+2028]"}


def test_the_policy_names_the_scripts_that_are_in_the_page_and_no_address():
    text = Page("t", Markup(), (), scripts=("console.log('<&>')",)).render()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "http" not in policy
    assert re.findall(r'(?:src|href)="(?!#|data:)', text) == []


def test_the_library_is_the_one_that_its_readme_names():
    assets = resources.files("prerlkit.page").joinpath("assets")
    sums = re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", assets.joinpath("README.md").read_text(), re.MULTILINE)
    assert len(sums) == 2
    for name, expected in sums:
        assert hashlib.sha256(assets.joinpath(name).read_bytes()).hexdigest() == expected
    assert "MIT" in assets.joinpath("uPlot.LICENSE").read_text()


def test_lines_of_a_chart_share_one_x():
    chart = Chart("c", "C", (ChartLine("a", [1, 2], [0.123456789, 2.0]), ChartLine("b", [2, 3], [None, float("nan")])))
    drawn = chart.to_json()
    assert drawn["x"] == [1, 2, 3]
    assert [line["y"] for line in drawn["lines"]] == [[0.12346, 2, None], [None, None, None]]


def test_a_line_of_too_many_points_is_drawn_by_means_and_says_so():
    points = 3 * MOST_POINTS
    chart = Chart("c", "C", (ChartLine("a", range(points), [float(n % 3) for n in range(points)]),))
    assert chart.thinned
    drawn = chart.to_json()
    assert len(drawn["x"]) == MOST_POINTS
    assert drawn["x"][:2] == [1, 4]
    assert set(drawn["lines"][0]["y"]) == {1}
    assert not Chart("c", "C", (ChartLine("a", range(1000), [0.0] * 1000),)).thinned


def test_the_table_of_a_chart_has_intervals_and_its_last_point():
    line = ChartLine("held-out", range(100), [0.5] * 100, [0.4] * 100, [0.6] * 100)
    head, rows = Chart("c", "C", (line, ChartLine("faint", [0], [1.0], look="faint")), percent=True).rows(most=10)
    assert head == ["step", "held-out"]
    assert rows[0] == ["0", "50.0 [40.0, 60.0]"]
    assert [row[0] for row in rows] == [*map(str, range(0, 100, 10)), "99"]


def test_a_page_that_goes_on_hands_over_what_its_own_script_does_not_keep():
    chart = Chart("c", "C", (ChartLine("a", [1], [1.0]),), marks=(Mark(0.5, "rl"),))
    page = Page("t", Markup("<p>"), (Section("a", "A", Markup("<i>"), (chart,)), Section("b", "B", own=True)))
    update = page.update()
    assert update["bodies"] == {"a": "<i>"}
    assert update["charts"]["c"]["marks"] == [{"x": 0.5, "label": "rl", "color": None}]
    assert update["lead"] == "<p>"
    assert "connect-src 'self'" in page.render(live="data.json").replace("&#39;", "'")
