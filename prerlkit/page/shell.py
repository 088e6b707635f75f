"""The shell: a title, a first screen, sections with curves, in one file that asks the network for nothing.

Everything that goes in is text until a template of ours makes it markup: `render` escapes every value and shows what is
invisible (`page/text.py`). A Content-Security-Policy in the page itself forbids requests and scripts that are not ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from prerlkit.page.chart import Chart
from prerlkit.page.text import plain, visible

_OWN = "prerlkit.page"
_NOTHING = Markup()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        id: unique in the page; links and tests find it by that.
        intro: a sentence under the title.
        body: markup from `render` or `table`.
        charts: figures under the body.
        own: the page's own script keeps the body up to date, so that a live page leaves it alone.
    """

    id: str
    title: str
    body: Markup = _NOTHING
    charts: tuple[Chart, ...] = ()
    intro: str = ""
    own: bool = False

    @property
    def smooth(self) -> bool:
        """Whether there are curves that a reader may smooth."""
        return any(line.smooth for chart in self.charts for line in chart.lines)


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        lead: the first screen, under the title.
        data: JSON values for the page's own scripts, which find them with `prerlkit.data(name)`.
        styles, scripts: of the page's own, behind the shell's: CSS and JavaScript as text.
        groups: (name, colour) of what a reader switches on and off in all charts, if there is more than one.
        footer: one line at the end.
    """

    title: str
    lead: Markup
    sections: tuple[Section, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    footer: str = ""

    def render(self, live: str = "", version: str = "") -> str:
        """The whole file. `live`: the address of a server's own that `update` is read from, again and again; `version`:
        of what is in the page now."""
        scripts = [Markup(text) for text in (_asset("uPlot.iife.min.js"), _asset("page.js"), *self.scripts)]
        styles = [Markup(text) for text in (_asset("uPlot.min.css"), _asset("page.css"), *self.styles)]
        return str(
            render(
                _OWN,
                "shell.html",
                page=self,
                live=bool(live),
                styles=styles,
                scripts=scripts,
                policy=_policy(scripts, live),
                data=_script_json({"live": live, "version": version, **self._data()}),
            )
        )

    def update(self) -> dict[str, Any]:
        """The markup of the page's parts and its data, for an open page that updates itself."""
        bodies = {section.id: str(section.body) for section in self.sections if not section.own}
        return {**self._data(), "title": visible(self.title), "lead": str(self.lead), "bodies": bodies}

    def _data(self) -> dict[str, Any]:
        charts = {chart.id: chart.to_json() for section in self.sections for chart in section.charts}
        return {"charts": plain(charts), "data": plain(self.data)}


def render(package: str, template: str, **values: Any) -> Markup:
    """Fill a template of `package`'s folder `templates/`; its values are escaped, and the shell's macros are there."""
    return Markup(_environment(package).get_template(template).render(**values))


def table(caption: str, head: Sequence[Any], rows: Sequence[Sequence[Any]], *, numbers: Sequence[int] = ()) -> Markup:
    """A table that scrolls by itself on a narrow screen. The first column names its row.

    Args:
        numbers: which columns, from 0, are set as numbers.
    """
    return render(_OWN, "table.html", caption=caption, head=head, rows=rows, numbers=frozenset(numbers))


def asset(package: str, name: str) -> str:
    """A file of `package`'s folder `assets/` as text."""
    return resources.files(package).joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _asset(name: str) -> str:
    return asset(_OWN, name)


@cache
def _environment(package: str) -> Environment:
    templates = {
        file.name: file.read_text(encoding="utf-8")
        for place in dict.fromkeys((_OWN, package))
        for file in resources.files(place).joinpath("templates").iterdir()
        if file.name.endswith(".html")
    }
    return Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(scripts: Sequence[str], live: str) -> str:
    """No request, no frame, no form, and no script but these: what a completion contains can't run."""
    sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in sums)
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> Markup:
    """JSON that is safe inside a <script>: it has no character that HTML interprets."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
