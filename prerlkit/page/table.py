"""A table for notebooks: HTML in which nothing that was put into a cell acts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from prerlkit.page.text import visible


def html_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a caption; the first column has names, the others have figures."""
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f'<caption style="text-align: left">{_text(title)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def merged_rows(rows: Sequence[tuple[str, dict[str, str]]], first: str) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a table from named rows that may lack cells; `first` heads the names."""
    headings = list(dict.fromkeys(heading for _, cells in rows for heading in cells))
    return [first, *headings], [[name, *(cells.get(heading, "–") for heading in headings)] for name, cells in rows]


def _text(text: str) -> str:
    return escape(visible(text))
