"""Reads pages of `dsg_tf.drawing.page` again, as a browser would: tables, texts, pictures, and what is loaded."""

from __future__ import annotations

import base64
import html.parser
import io
import re

from PIL import Image

VOID = {"meta", "img", "link", "br"}


class Page(html.parser.HTMLParser):
    """A parsed page.

    Attributes:
      tables: by caption, the rows as lists of texts, the head first.
      tags: [(name, attributes)] in order.
      text: all that is text.
      problems: tags that are not closed in order.
    """

    def __init__(self, document: str):
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict]] = []
        self.text, self.problems = "", []
        self._open: list[str] = []
        self._caption, self._rows = "", []
        self.feed(document)
        self.close()
        self.problems += self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"/{tag}")
        if tag == "table":
            self.tables[self._caption] = [[cell.strip() for cell in row] for row in self._rows]

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif {"th", "td"} & set(self._open):
            self._rows[-1][-1] += data

    def column(self, caption: str, head: str) -> dict[str, str]:
        """The texts of one column of a table, by the names of the rows; folded rows, too."""
        rows = self.tables[caption]
        number = rows[0].index(head)
        rest = self.tables.get(f"{caption}, the rest", [[]])
        return {row[0]: row[number] for row in [*rows[1:], *rest[1:]]}

    def numbers(self, caption: str, head: str) -> dict[str, int]:
        """The same as integers, what stands behind them in parentheses left out."""
        return {name: int(cell.split(" ")[0].replace(",", "")) for name, cell in self.column(caption, head).items()}

    def pictures(self) -> list[tuple[Image.Image, str]]:
        """The images of the page and the texts in their place."""
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                start, _, data = attributes["src"].partition("base64,")
                assert start == "data:image/jpeg;"
                found.append((Image.open(io.BytesIO(base64.b64decode(data))), attributes["alt"]))
        return found


def check(document: str) -> Page:
    """A page that is whole, runs nothing, and loads nothing from anywhere; every picture has a text, every id is one's.

    Raises:
      AssertionError: it is not.
    """
    page = Page(document)
    names = [name for name, _ in page.tags]
    assert not page.problems, page.problems
    assert names.count("h1") == 1 and names.count("main") == 1
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(names)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "src" not in attributes or attributes["src"].startswith("data:image/jpeg;base64,")
        if "href" in attributes:
            assert attributes["href"].startswith("#") and attributes["href"][1:] in ids
        if tag == "img":
            assert attributes["alt"] and int(attributes["width"]) and int(attributes["height"])
        if tag == "svg":
            assert attributes["aria-label"] and attributes["role"] == "img"
    style = document[document.index("<style>") : document.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    return page
