"""Reports in a real Chromium: what is drawn, what can be done, that nothing is asked for, that nothing acts."""

from __future__ import annotations

import io
import json
import threading

import pytest

from prerlkit.compare.comparison import compare
from prerlkit.compare.html import page as comparison_page
from prerlkit.report.build import build
from prerlkit.report.serve import server
from prerlkit.runs.run import Run

KINDS = ("completed", "crashed", "empty", "hostile", "several")


@pytest.fixture
def report(make_run, hostile, tmp_path):
    """A function that writes the report of a kind of run and gives the file."""

    def write(kind: str):
        more = {"probe/alignment": 0.5}
        match kind:
            case "completed":
                folders = [make_run(more=more, tokens=5)]
            case "long":
                folders = [make_run("long", steps=(200, 800), more=more, tokens=5)]
            case "crashed":
                folders = [make_run(done=13, reason="failed: OSError: disk full")]
            case "empty":
                folders = [make_run(done=0, reason=None, evaluations=False)]
            case "hostile":
                folders = [make_run("h", texts=hostile, reason=f"failed: {hostile[1]}", done=12, tokens=1)]
            case _:
                folders = [make_run(seed=seed) for seed in range(3)]
        file = tmp_path / "report.html"
        file.write_text(build(folders).render(), encoding="utf-8")
        return file

    return write


def painted(page, chart: str) -> str:
    """A chart's canvas as a data URL; there is more on it than on a blank one of its size."""
    drawn, blank = page.evaluate(
        """id => { const c = document.querySelector(`#chart-${id} canvas`), b = document.createElement('canvas');
        [b.width, b.height] = [c.width, c.height];
        return [c.toDataURL(), b.toDataURL()]; }""",
        chart,
    )
    assert len(drawn) > 2 * len(blank)
    return drawn


@pytest.mark.parametrize("kind", KINDS)
def test_pages_fit_a_desktop_and_a_phone_without_an_error_or_a_request(report, look, kind):
    """`look` fails the test for any message on the console and any request."""
    file = report(kind)
    for width, dark in ((1280, False), (390, True)):
        page = look(file, width=width, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hacked") is None
        if kind != "empty":
            painted(page, "reward")
            assert page.locator("article.group").count() >= 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_to_object_to(report, look, kind, dark):
    """Contrast, names, roles, order of headings: axe-core's rules, in both themes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
    page = look(report(kind), dark=dark)
    for details in page.locator("details:not([open]) > summary").all()[:3]:
        details.click()
    found = axe.Axe().run(page)
    assert [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found.response["violations"]] == []
    assert len(found.response["passes"]) > 15


def test_hostile_text_is_read_as_it_was_written(report, look, hostile):
    page = look(report("hostile"))
    shown = page.locator(".written").all_inner_texts()
    assert hostile[0] in shown
    assert hostile[1] in shown
    assert page.locator("#groups img, #groups script, #groups link, #lead script").count() == 0
    assert page.locator(".why", has_text="100,000 characters, the middle is cut out").count() >= 1


def test_completions_are_filtered_by_stage_verdict_reward_step_and_text(report, look):
    page = look(report("completed"))
    groups, found = page.locator("article.group"), page.locator("#found")
    assert found.inner_text().startswith("60 of 60 groups")
    assert groups.first.locator("h3").inner_text() == "Step 30"
    page.select_option("[name=stage]", "warmup")
    page.locator("#found", has_text="20 of 60 groups").wait_for()
    assert groups.first.locator("h3").inner_text() == "Step 10"
    page.fill("[name=first]", "3")
    page.fill("[name=last]", "4")
    page.locator("#found", has_text="4 of 60 groups").wait_for()
    page.select_option("[name=verdict]", "unjudged")
    page.locator(".group header", has_text="1 of 8 shown").first.wait_for()
    assert set(page.locator(".verdict .chip").all_inner_texts()) == {"unjudged"}
    assert "the verifier took too long" in page.locator(".why").first.inner_text()
    page.click("button[type=reset]")
    page.locator("#found", has_text="60 of 60 groups").wait_for()
    page.fill("[name=low]", "0.5")
    page.locator(".group header", has_text="of 8 shown").first.wait_for()
    assert set(page.locator(".verdict .chip").all_inner_texts()) == {"passed"}
    page.click("button[type=reset]")
    page.fill("[name=text]", "what is 17 + 1?")
    page.locator("#found", has_text="1 of 60 groups").wait_for()
    page.click("button[type=reset]")
    page.locator("#more").click()
    assert groups.count() == 16


def test_a_completion_is_tinted_by_its_advantage_where_it_was_trained_on(report, look):
    page = look(report("completed"))
    page.select_option("[name=stage]", "warmup")
    page.locator("#found", has_text="20 of 60").wait_for()
    assert page.locator(".completion.minus").count() > 0
    assert page.locator(".completion.plus").count() == 0  # NSR: what is right is not pushed
    minus = page.locator(".completion.minus .written").first
    assert minus.evaluate("e => getComputedStyle(e).backgroundColor").startswith("rgba(200, 50, 40")
    assert "advantage ▼ −" in page.locator(".completion.minus .verdict").first.inner_text()
    assert page.locator(".completion", has_text="not trained on").count() > 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tokens_are_coloured_by_what_the_update_did_to_them(report, look, dark):
    page = look(report("completed"), dark=dark)
    page.select_option("[name=tint]", label="tokens: change of log P(y|x)")
    page.locator("#found", has_text="12 of 60 groups").wait_for()  # steps 1, 6, … 26
    first = page.locator(".completion").first
    signs = {"up": 0, "down": 0}
    data = page.evaluate("prerlkit.data('rollouts')[0].groups.filter(g => g.step === 26)[0].completions[0].shown")
    painted = first.locator(".token").evaluate_all("all => all.map(e => [e.textContent, e.style.background])")
    assert [text for text, _ in painted] == data["pieces"]
    for (_, style), value in zip(painted, data["values"][0], strict=True):
        side = "up" if value > 0 else "down"
        signs[side] += 1
        assert value == 0 or f"var(--{side})" in style
    assert min(signs.values()) > 10
    first.locator(".written").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = first.locator(".token-says").inner_text()
    assert said.startswith(json.dumps(data["pieces"][1]))
    assert f"{abs(data['values'][0][1]):g}" in said
    first.locator(".token").nth(4).hover()
    assert first.locator(".token-says").inner_text().startswith(json.dumps(data["pieces"][4]))
    before = painted
    page.select_option("[name=tint]", label="tokens: log P(y|x) − log P(y)")
    page.locator("#legend", has_text="because of the prompt").wait_for()
    after = first.locator(".token").evaluate_all("all => all.map(e => [e.textContent, e.style.background])")
    assert after != before
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
    some = ".group:first-child .completion:first-child"  # each token is looked at: thousands of them take minutes
    assert axe.Axe().run(page, context=some).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.click("#filters button[type=reset]")
    page.locator("#found", has_text="60 of 60 groups").wait_for()
    assert page.locator(".token").count() == 0


def test_hostile_tokens_stay_text(report, look, hostile):
    page = look(report("hostile"))
    page.select_option("[name=tint]", "1")
    page.locator(".token").first.wait_for()
    shown = page.locator(".written").all_inner_texts()
    assert f"{hostile[1]}<end>" in shown
    assert page.evaluate("window.hacked") is None
    assert page.locator("#groups img, #groups script, #groups link").count() == 0


def test_without_recorded_tokens_there_is_nothing_to_colour_by(report, look):
    page = look(report("crashed"))
    assert not page.locator("[name=tint]").is_visible()


def test_everything_is_reached_and_seen_with_the_keyboard(report, look):
    page = look(report("completed"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"
    assert {"theme", "plot", "scroll"} <= reached
    plot = page.locator("#chart-reward .plot")
    plot.focus()
    page.keyboard.press("Home")
    readout = page.locator("#chart-reward .readout")
    assert readout.inner_text().startswith("step 1\n")
    page.keyboard.press("ArrowRight")
    assert readout.inner_text().startswith("step 2\n")
    assert page.locator("#chart-entropy .readout").inner_text().startswith("step 2\n")  # all charts move together
    page.keyboard.press("Escape")
    assert readout.inner_text().startswith("last\n")
    assert "reward from 0." in plot.get_attribute("aria-label")


def test_dragging_zooms_and_a_double_click_goes_back(report, look):
    page = look(report("completed"))
    before = painted(page, "reward")
    page.locator("#chart-reward").scroll_into_view_if_needed()
    box = page.locator("#chart-reward .u-over").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    page.mouse.move(5, 5)
    assert painted(page, "reward") != before
    page.locator("#chart-reward .u-over").dblclick()
    page.mouse.move(5, 5)
    page.wait_for_timeout(100)
    assert painted(page, "reward") == before


def test_the_numbers_of_a_chart_are_a_table(report, look):
    page = look(report("completed"))
    page.click("#chart-accuracy .numbers summary")
    table = page.locator("#chart-accuracy .numbers table")
    assert table.locator("thead th").all_inner_texts() == ["step", "training", "held-out greedy"]
    assert table.locator("tbody tr").count() == 31
    assert table.locator("tbody tr").last.locator("td").last.inner_text() == "74.0 [67.5, 79.6]"


def test_the_theme_follows_the_system_and_the_button_overrides_it(report, look):
    page = look(report("completed"), dark=True)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: light"
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == light
    page.click("#theme")
    assert (page.inner_text("#theme"), page.evaluate(background)) == ("Theme: dark", dark)
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(background) == light


def test_a_slider_smooths_the_curves_of_steps_and_no_evaluation(report, look):
    page = look(report("completed"))
    before = painted(page, "reward")
    page.locator("#curves .smoothing input").fill("0.9")
    readout = page.locator("#chart-reward .readout")
    readout.locator("span", has_text="smoothed").wait_for()
    assert painted(page, "reward") != before
    line = page.evaluate("JSON.parse(document.getElementById('prerlkit-data').textContent).charts.reward.lines[0]")
    (rl,) = line["breaks"]
    own = line["y"][round(rl - 0.5) :]  # those of the stage `rl`, which begins at step `rl` + 0.5
    weights = [0.9**age for age in reversed(range(len(own)))]
    expected = sum(w * y for w, y in zip(weights, own, strict=True)) / sum(weights)
    assert float(readout.inner_text().split("smoothed")[1]) == pytest.approx(expected, rel=1e-3)
    assert page.locator("#chart-accuracy .readout").inner_text().count("smoothed") == 1  # not the held-out points
    assert page.locator("#probes .smoothing input").input_value() == "0.9"
    page.locator("#probes .smoothing input").fill("0")
    page.locator("#curves .smoothing output", has_text="off").wait_for()
    page.wait_for_timeout(100)
    assert painted(page, "reward") == before


def test_names_of_stages_stand_above_the_curves(report, look):
    page = look(report("completed"))
    page.evaluate(
        """window.written = []; const fillText = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          window.written.push([this.canvas.closest('figure').id, this.textBaseline, text, y]);
          return fillText.call(this, text, x, y); }; null"""
    )
    page.click("#theme")  # draws all again
    top = page.evaluate("document.querySelector('#chart-reward .u-over').offsetTop * devicePixelRatio")
    names = {text: (base, y) for id_, base, text, y in page.evaluate("written") if id_ == "chart-reward"}
    for stage in ("warmup", "rl"):
        base, y = names[stage]
        assert (base, y < top) == ("bottom", True)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_table_that_is_cut_has_a_shade_at_its_edge(report, look, dark):
    image = pytest.importorskip("PIL.Image")
    page = look(report("completed"), width=390, dark=dark)
    table = page.locator("#evaluations .scroll").first

    def edge():
        """The colour of the last column of pixels, in a row between two cells' texts."""
        shot = image.open(io.BytesIO(table.screenshot())).convert("RGB")
        return shot.getpixel((shot.width - 1, 3))

    cut = edge()
    table.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    whole = edge()
    assert max(abs(a - b) for a, b in zip(cut, whole, strict=True)) > 40


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_comparison_fits_a_desktop_and_a_phone(make_run, look, tmp_path, width, dark):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
    runs = [Run.open(make_run(name, seed=seed)) for name in ("one", "two") for seed in range(2)]
    file = tmp_path / "comparison.html"
    file.write_text(comparison_page(compare(runs)), encoding="utf-8")
    page = look(file, width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    painted(page, "reward-mean-steps")
    page.locator("#reward-mean .smoothing input").fill("0.5")
    page.locator("#chart-reward-mean-steps .readout", has_text="smoothed").wait_for()
    assert page.locator("#eval-accuracy .smoothing").count() == 0
    violations = axe.Axe().run(page).response["violations"]
    assert [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in violations] == []


def test_runs_are_switched_off_in_all_charts(report, look):
    page = look(report("several"))
    assert page.locator("#chart-reward .readout b").count() == 3
    before = painted(page, "reward")
    page.uncheck('[data-group="made, seed 1"]')
    assert page.locator("#chart-reward .readout b").count() == 2
    assert page.locator("#chart-entropy .readout b").count() == 2
    assert painted(page, "reward") != before
    assert page.inner_text("#found").startswith("120 of 180 groups")


def test_without_javascript_there_are_tables(report, look):
    page = look(report("completed"), javascript=False)
    assert page.locator("#chart-reward noscript table tbody tr").count() >= 15
    assert page.locator("#rollouts noscript table tbody tr").count() == 8
    assert page.locator("#time table tbody tr").count() == 4
    assert not page.locator("#filters").is_visible()


def test_a_live_page_takes_over_what_the_run_writes(make_run, look):
    folder, whole = make_run(done=5, reason=None), make_run("whole")
    serving = server([folder], 0)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        page = look(serving.address)
        assert page.locator("#lead dd").first.inner_text() == "5 of 30"
        page.locator("#live", has_text="live").wait_for()
        page.select_option("[name=stage]", "warmup")
        for file in ("samples", "metrics", "evaluations"):
            step = [
                line for line in (whole / f"{file}.jsonl").read_text().splitlines() if json.loads(line)["step"] <= 6
            ]
            (folder / f"{file}.jsonl").write_text("\n".join(step) + "\n")
        page.locator("#lead dd", has_text="6 of 30").wait_for(timeout=10_000)
        page.locator("#found", has_text="12 of 12 groups").wait_for()
        assert page.locator("[name=stage]").input_value() == "warmup"
        plot = page.locator("#chart-reward .plot")
        plot.focus()
        page.keyboard.press("End")
        assert page.locator("#chart-reward .readout").inner_text().startswith("step 6\n")
        (folder / "summary.json").write_text('{"exit_reason": "completed", "wall_seconds": 60}')
        page.locator(".chip", has_text="completed").wait_for(timeout=10_000)
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()
