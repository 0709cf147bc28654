"""Pages: what is written is what is read, and names of users stay names."""

import os

import html_pages
import pytest
from PIL import Image

from dsg_tf.drawing import curves, page

EVIL = '<script>alert("1")</script>\' onload=x & "'


def document(*parts, title="Title"):
    return page.page(title, page.text("about"), [page.Section("Part", parts)])


def test_names_of_users_are_text_wherever_they_stand():
    picture = page.Picture(Image.new("RGB", (8, 6)), EVIL, page.line(EVIL, page.bullets([EVIL])))
    plot = curves.plot(EVIL, EVIL, EVIL, [curves.Curve(EVIL, [(0, 0), (1, 1)])])
    parts = [
        EVIL,
        page.text(EVIL, page.code(EVIL)),
        page.heading(EVIL),
        page.table(EVIL, [EVIL, EVIL], [[EVIL, EVIL], [page.code(EVIL), page.Bar(EVIL, 0.5)]]),
        page.details(EVIL, EVIL),
        page.pictures([picture]),
        plot,
    ]
    found = html_pages.check(document(*parts, title=EVIL))
    assert found.text.count(EVIL) == 21
    assert found.tables[EVIL] == [[EVIL, EVIL], [EVIL, EVIL], [EVIL, EVIL]]
    assert found.pictures()[0][1] == EVIL
    assert [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"] == [EVIL]


def test_what_no_file_may_hold_is_replaced(tmp_path):
    path = str(tmp_path / "page.html")
    page.write(path, document("a\0b\ud800c\N{LATIN SMALL LETTER E WITH ACUTE}"))
    with open(path, encoding="utf-8") as file:
        assert "a\ufffdb\ufffdc\N{LATIN SMALL LETTER E WITH ACUTE}" in file.read()


def test_a_page_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "page.html"
    page.write(str(path), document("old"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="the disk is full"):
            page.write(str(path), document("new"))
    assert "old" in path.read_text() and os.listdir(path.parent) == ["page.html"]


def tracks(found):
    """Widths and offsets of bars and of their errors, per cent."""
    styles = [(tag, a["style"]) for tag, a in found.tags if tag in "ib" and "style" in a]
    return [(tag, *(float(part.split(":")[1].rstrip("%")) for part in style.split(";"))) for tag, style in styles]


def test_bars_are_as_long_as_their_numbers():
    rows = [("a", [2000]), ("b", [500]), ("c", [0])]
    found = html_pages.check(document(page.columns("Counts", ["class", "train"], rows)))
    assert found.numbers("Counts", "train") == {"a": 2000, "b": 500, "c": 0}
    assert found.column("Counts", "train")["a"] == "2,000"
    assert tracks(found) == [("i", 100), ("i", 25), ("i", 0)]
    bars = [page.Bar("x", 0.5, 0.1), page.Bar("y", 0.95, 0.1), page.Bar("z", None), page.Bar("n", float("nan"))]
    found = html_pages.check(document(page.table("Scores", ["", "s"], [["row", bar] for bar in bars])))
    assert tracks(found) == [("i", 50), ("b", 40, 20), ("i", 95), ("b", 85, 15)]


def test_a_long_table_is_folded_and_complete():
    rows = [(f"class {k}", [k]) for k in range(page.ROWS_SHOWN + 12)]
    found = html_pages.check(document(page.columns("Counts", ["class", "n"], rows)))
    assert found.numbers("Counts", "n") == {name: n for name, (n,) in rows}
    assert len(found.tables["Counts"]) == page.ROWS_SHOWN + 1 and "12 more" in found.text
    empty = html_pages.check(document(page.columns("Counts", ["class", "n"], [])))
    assert empty.tables["Counts"] == [["class", "n"]]


def test_a_curve_runs_through_its_points():
    points = [(0.0, 0.0), (0.5, float("nan")), (1.0, 0.5)]
    found = html_pages.check(document(curves.plot("A curve", "x", "y", [curves.Curve("one", points, marked=True)])))
    (line,) = [a["points"] for tag, a in found.tags if tag == "polyline"]
    circles = [(float(a["cx"]), float(a["cy"])) for tag, a in found.tags if tag == "circle"]
    assert [tuple(map(float, point.split(","))) for point in line.split()] == circles
    (x0, y0), (x1, y1) = circles
    assert x1 - x0 == 2 * (y0 - y1) == curves._SIDE
    with pytest.raises(ValueError, match="4 colors, got 5 curves"):
        curves.plot("", "", "", [curves.Curve("", [])] * 5)
