"""Pages of numbers and pictures as one HTML file that needs nothing else: no script, no font, no address.

What is given as `str` is escaped; what these functions return is `Html` and stays as it is. A page reads on a phone, in
light and dark, on paper and aloud: every picture has a text in its place, every bar stands beside its number.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any, Union

from PIL import Image

from dsg_tf.process import files

ROWS_SHOWN = 30
JPEG_QUALITY = 82
with open(os.path.join(os.path.dirname(__file__), "page.css"), encoding="utf-8") as _file:
    STYLE = _file.read()
# A browser then loads nothing from elsewhere and runs nothing, whatever a name in the data looks like.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Text that is HTML."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A cell of a table with a bar under its text.

    Attributes:
      text: what the cell says.
      share: length of the bar, 0 to 1; None or NaN: no bar.
      error: half the length of a line about the end of the bar, in the same unit.
    """

    text: str
    share: float | None
    error: float = 0.0


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image, the text in its place, and what stands below it."""

    image: Image.Image
    alt: str
    caption: Content = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page that its contents name."""

    title: str
    parts: Sequence[Content]


Content = Union[str, Html]
Cell = Union[Content, int, Bar]
Row = Sequence[Any]  # The name of the row, `Content`, and its `Cell`s.


def escaped(value: Content) -> Html:
    """Text as HTML; what no HTML file may hold, such as a control character, becomes U+FFFD."""
    if isinstance(value, Html):
        return value
    printable = "".join(c if c.isprintable() or c in " \n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return Html(html.escape(printable))


def page(title: str, introduction: Content, sections: Sequence[Section]) -> Html:
    """A whole document.

    Args:
      title: its heading and its name in a browser.
      introduction: below the heading, before the contents.
      sections: in order.
    """
    links = [f'<li><a href="#part{k}">{escaped(s.title)}</a></li>' for k, s in enumerate(sections)]
    contents = f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'
    bodies = [
        f'<section><h2 id="part{k}">{escaped(s.title)}</h2>\n{join(s.parts)}</section>' for k, s in enumerate(sections)
    ]
    return Html(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escaped(title)}</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escaped(title)}</h1>\n{join([introduction])}"
        f"{contents}\n" + "\n".join(bodies) + "\n</main>\n</body>\n</html>\n"
    )


def write(path: str, document: Html) -> None:
    """Writes a page: whole, or not at all."""
    files.write_text(path, document)


def join(parts: Iterable[Content]) -> Html:
    """Parts below each other; text becomes a paragraph, and nothing where it is empty."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts if part))


def text(*words: Content) -> Html:
    """A paragraph."""
    return Html(f"<p>{line(*words)}</p>\n")


def heading(words: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escaped(words)}</h3>\n")


def code(words: str) -> Html:
    """What is typed or is the name of a file, within a line."""
    return Html(f"<code>{escaped(words)}</code>")


def line(*parts: Content) -> Html:
    """Texts and HTML behind each other, as one text."""
    return Html("".join(map(escaped, parts)))


def bullets(items: Iterable[Content]) -> Html:
    """A list without numbers."""
    return Html("<ul>" + "".join(f"<li>{escaped(item)}</li>" for item in items) + "</ul>\n")


def beside(*parts: Html) -> Html:
    """Parts beside each other where there is room, else below each other."""
    return Html('<div class="beside">' + "".join(f"<div>{part}</div>\n" for part in parts) + "</div>\n")


def details(summary: str, *parts: Content) -> Html:
    """What is folded away until it is asked for; on paper all of it is shown."""
    return Html(f"<details><summary>{escaped(summary)}</summary>\n{join(parts)}</details>\n")


def table(caption: str, heads: Sequence[str], rows: Sequence[Row], shown: int = ROWS_SHOWN) -> Html:
    """A table whose first column names the rows; rows beyond `shown` are folded away.

    Integers get separators of thousands; numbers and bars stand at the right.
    """
    parts = [_table(caption, heads, rows[:shown])]
    if len(rows) > shown:
        parts.append(details(f"{len(rows) - shown:,} more", _table(f"{caption}, the rest", heads, rows[shown:])))
    return Html("".join(parts))


def _table(caption: str, heads: Sequence[str], rows: Sequence[Row]) -> Html:
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>{"".join(map(_cell, cells))}</tr>\n' for name, *cells in rows
    )
    return Html(
        f'<div class="scroll" tabindex="0"><table><caption>{escaped(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _cell(value: Cell) -> Html:
    if isinstance(value, Bar):
        return Html(f'<td class="number"><span>{escaped(value.text)}</span>{_track(value)}</td>')
    if isinstance(value, int):
        return Html(f'<td class="number">{value:,}</td>')
    return Html(f"<td>{escaped(value)}</td>")


def _track(bar: Bar) -> str:
    if bar.share is None or bar.share != bar.share:
        return ""
    share = min(max(bar.share, 0.0), 1.0)
    parts = f'<i style="width:{100 * share:.1f}%"></i>'
    if bar.error > 0:
        low, high = max(share - bar.error, 0.0), min(share + bar.error, 1.0)
        parts += f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b>'
    return f'<span class="track" aria-hidden="true">{parts}</span>'


def counts(caption: str, what: str, pairs: Sequence[tuple[str, int]], shown: int = ROWS_SHOWN) -> Html:
    """A table of (name, count), bars as long as the share of the largest."""
    return columns(caption, [what, "number"], [(name, [count]) for name, count in pairs], shown)


def columns(
    caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]], shown: int = ROWS_SHOWN
) -> Html:
    """A table of names with counts, a bar each: of a column, the longest is that of its largest count."""
    largest = [max(column) or 1 for column in zip(*(values for _, values in rows))]
    return table(
        caption,
        heads,
        [[name, *(Bar(f"{n:,}", n / most) for n, most in zip(values, largest))] for name, values in rows],
        shown,
    )


def pictures(shown: Sequence[Picture], wide: bool = False) -> Html:
    """Pictures beside and below each other, as JPEG inside the page; `wide` ones are shown larger."""
    figures = "".join(
        f'<figure><img src="{_data_uri(p.image)}" alt="{escaped(p.alt)}" width="{p.image.width}" '
        f'height="{p.image.height}"><figcaption>{escaped(p.caption)}</figcaption></figure>\n'
        for p in shown
    )
    return Html(f'<div class="pictures{" wide" if wide else ""}">\n{figures}</div>\n')


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
