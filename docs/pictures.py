"""Make the pictures of the README, docs/images/terminal.svg and report.png: `python docs/pictures.py`.

It runs `reach_dsrl` for real, which takes about two minutes. The first picture is what the program prints, the second
one the top of the run's report in a Chromium of this machine. It needs the extras `browser` and `card`.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).resolve().parent / "images"
RECIPE = "reach_dsrl"
WIDTH = 116
"""Columns: the widest table of the run fits."""
STEPS = 6
"""How many of the last steps are shown."""
LAST = "look at it"
"""The last line of the picture. Behind it is a path of this machine."""
REPORT = (1280, 1550)
"""Width and height: down to the first curves."""


def run_lines(folder: Path) -> list[str]:
    """Run the recipe into `folder`; return what the program prints, one line each, with its colours as ANSI codes."""
    from prerlkit.cli.render.display import Display
    from prerlkit.cli.visible import VisibleConsole
    from prerlkit.launch import Launch, run_recipe
    from prerlkit.recipe.load import load

    console = VisibleConsole(
        record=True, width=WIDTH, force_terminal=True, color_system="truecolor", highlight=False, file=io.StringIO()
    )
    loaded = load(RECIPE, [])
    display = Display(console, recipe=loaded.recipe)  # its bars, which a picture can't show, are not started
    display.summary = run_recipe(Launch(loaded.recipe, loaded.folder, folder), display)
    display.finish(folder, command=f"prerlkit resume {folder}")
    return console.export_text(styles=True).splitlines()


def shown_lines(lines: list[str]) -> list[str]:
    """Return the lines of a run from its last steps on."""
    plain = [Text.from_ansi(line).plain for line in lines]
    steps = [at for at, line in enumerate(plain) if re.match(r"\w+ +\d+/\d+  ", line)]
    last = next(at for at, line in enumerate(plain) if line.startswith(LAST))
    return lines[steps[-STEPS] : last + 1]


def terminal_svg(lines: list[str]) -> str:
    """Return the picture of a terminal with the lines. It asks no other host for a font."""
    console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print(Text(f"$ prerlkit run {RECIPE}", style="bold"))
    console.print("⋯", style="dim")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    svg = console.export_svg(title=f"prerlkit run {RECIPE}", unique_id="terminal")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code", "ui-monospace, Menlo, Consolas"
    )


def report_png(folder: Path, file: Path) -> None:
    """Write the top of the report about the run in `folder`."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from prerlkit.report.build import build

    page_file = folder / "report.html"
    page_file.write_text(build([folder]).render(), encoding="utf-8")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if binary is None:
        sys.exit("There is no Chromium on this machine. Install one, on Debian by `apt-get install chromium`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": REPORT[0], "height": REPORT[1]}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        shot = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(shot)).convert("P", palette=Image.Palette.ADAPTIVE, colors=255).save(file, optimize=True)


def main() -> None:
    """Make both pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)  # the lines name the run's folder without a path of this machine
        folder = Path("runs") / RECIPE
        lines = run_lines(folder)
        (IMAGES / "terminal.svg").write_text(terminal_svg(shown_lines(lines)), encoding="utf-8")
        report_png(folder, IMAGES / "report.png")


if __name__ == "__main__":
    main()
