"""The HTML page: one self-contained file, everything that came from data escaped, no outside resource."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd

from alliance_stats.report.numbers import MISSING, Format, printed

Labels = Mapping[str | tuple[str, str], str]
"""Columns to show and their headings; a pair of columns is shown as one interval."""
_WORDS = {"std_error": "SE", "p_value": "p", "ci_": "95% CI"}
_NARROW = 3  # Tables of this many columns fit a narrow screen as they are; in wider ones each row becomes a block there


@dataclass
class Section:
    """A section of the page: its heading and, in order, the HTML of what it shows.

    The methods escape what they are given; `blocks` holds HTML only.
    """

    anchor: str
    heading: str
    blocks: list[str] = field(default_factory=list)

    def paragraph(self, text: str, *, css: str = "") -> None:
        """Add running text."""
        self.blocks.append(f"<p{_css(css)}>{_running(text)}</p>")

    def subheading(self, text: str) -> None:
        """Add a heading within the section."""
        self.blocks.append(f"<h3>{escape(text)}</h3>")

    def notes(self, texts: Iterable[str]) -> None:
        """Add remarks that must not be overlooked, if there are any."""
        items = "".join(f"<li>{_running(text)}</li>" for text in texts)
        self.blocks += [f'<ul class="notes">{items}</ul>'] if items else []

    def table(
        self,
        table: pd.DataFrame,
        caption: str,
        *,
        labels: Labels,
        formats: Mapping[str, Format] | None = None,
        file: str = "",
    ) -> None:
        """Add a table; `labels` choose and name the columns, `formats` print a column's values."""
        self.blocks.append(_table(table, caption, labels, formats or {}, file))

    def figure(self, svg: bytes, caption: str, *, alt: str, file: str) -> None:
        """Add a figure, embedded as SVG; `file` names it on disk, without suffix."""
        data = base64.b64encode(svg).decode("ascii")
        saved = f" <code>{escape(file)}.png, .svg</code>"
        self.blocks.append(
            f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(alt)}">'
            f"<figcaption>{escape(caption)}{saved}</figcaption></figure>"
        )

    def tiles(self, values: Mapping[str, str]) -> None:
        """Add the few numbers to see first."""
        items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
        self.blocks.append(f'<dl class="tiles">{items}</dl>')

    def boxed(self, paragraphs: Iterable[str]) -> None:
        """Add running text set apart, made to be copied."""
        text = "".join(f"<p>{_running(paragraph)}</p>" for paragraph in paragraphs)
        self.blocks.append(f'<div class="methods">{text}</div>')

    def folded(self, summary: str, text: str) -> None:
        """Add preformatted text behind a heading to click on."""
        self.blocks.append(f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>")


def headings(*columns: str, **words: str) -> Labels:
    """Columns to show, in order, with their own names as headings unless `words` says otherwise.

    >>> headings("term", "n_rows", "ci_", "p_value", term="")
    {'term': '', 'n_rows': 'n rows', ('ci_low', 'ci_high'): '95% CI', 'p_value': 'p'}
    """
    words = {**_WORDS, **words}
    ends = {name: (f"{name}low", f"{name}high") for name in columns if name.endswith("_")}
    return {ends.get(name, name): words.get(name, name.replace("_", " ")) for name in columns}


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{part.anchor}">{escape(part.heading)}</a>' for part in sections)
    body = "\n".join(
        f'<section id="{part.anchor}">\n<h2>{escape(part.heading)}</h2>\n' + "\n".join(part.blocks) + "\n</section>"
        for part in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n<nav>{links}</nav>\n</header>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _running(text: str) -> str:
    """Running text, escaped; an equation or an interval is not broken at the end of a line."""
    escaped = escape(text)
    return re.sub(r"\S+% CI \[[^]]*\]|p &[lg]t; | = ", lambda found: found[0].replace(" ", "&nbsp;"), escaped)


def _table(table: pd.DataFrame, caption: str, labels: Labels, formats: Mapping[str, Format], file: str) -> str:
    """A table; where rows become blocks, the cells carry their headings (`data-label`)."""
    columns = [_column(table, name, heading, formats) for name, heading in labels.items() if _has(table, name)]
    head = "".join(f'<th scope="col"{_css(css)}>{escape(heading)}</th>' for heading, css, _ in columns)
    rows = "".join(
        "<tr>" + "".join(_cell(heading, css, cells[k]) for heading, css, cells in columns) + "</tr>\n"
        for k in range(len(table))
    )
    saved = f" <code>{escape(file)}</code>" if file else ""
    css = "scroll blocks" if len(columns) > _NARROW else "scroll"
    return (
        f'<div class="{css}" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}{saved}</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _cell(heading: str, css: str, text: str) -> str:
    label = f' data-label="{escape(heading)}"' if heading else ""
    return f"<td{_css(css)}{label}>{escape(text)}</td>"


def _has(table: pd.DataFrame, name: str | tuple[str, str]) -> bool:
    return all(one in table for one in ([name] if isinstance(name, str) else name))


def _column(
    table: pd.DataFrame, name: str | tuple[str, str], heading: str, formats: Mapping[str, Format]
) -> tuple[str, str, list[str]]:
    """A column as its heading, its class (``n``: numbers, set to the right) and its printed cells."""
    if isinstance(name, tuple):
        low, high = (printed(table, one, formats) for one in name)
        return heading, "n", [MISSING if a == b == MISSING else f"[{a}, {b}]" for a, b in zip(low, high, strict=True)]
    numeric = pd.api.types.is_numeric_dtype(table[name].dtype) or name in formats
    return heading, "n" if numeric else "", printed(table, name, formats)


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
