"""Drawings: boxes, labels, panels, sheets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dsg_tf.drawing import canvas, marks, query_panels
from dsg_tf.drawing.canvas import OBJECT_COLOR, SUBJECT_COLOR

RED, BLUE = (255, 0, 0), (0, 0, 255)


def gray(width=100, height=60) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def where(image, color):
    """(top, left, bottom, right) of the pixels of a colour, ends exclusive; None if none are."""
    rows, columns = np.nonzero((np.asarray(image) == color).all(-1))
    if not rows.size:
        return None
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def tags(monkeypatch):
    """The places of the labels that are drawn from now on."""
    places = []
    draw_tag = marks._draw_tag

    def recorded(*arguments):
        places.append(draw_tag(*arguments))
        return places[-1]

    monkeypatch.setattr(marks, "_draw_tag", recorded)
    return places


def shared_area(one, two):
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0) * max(height, 0)


def test_a_box_covers_its_pixels_and_the_image_given_stays_as_it_was():
    image = gray()
    drawn = marks.draw_boxes(image, [[10, 20, 40, 70]], RED)
    assert where(drawn, RED) == (10, 20, 40, 70)
    assert drawn.getpixel((45, 25)) == (128, 128, 128)  # only the frame
    assert where(image, RED) is None


@pytest.mark.parametrize(
    "box, expected",
    [
        ([-20, -30, 30, 40], (0, 0, 30, 40)),
        ([30, 60, 900, 900], (30, 60, 60, 100)),
        ([0, 0, 60, 100], (0, 0, 60, 100)),
        ([10, 10, 12, 11], (10, 10, 12, 11)),
        ([20, 20, 20, 40], None),
        ([40, 40, 20, 20], None),
        ([0, 200, 10, 300], None),
        ([-50, 0, -10, 50], None),
        ([0, 0, float("nan"), 10], None),
    ],
)
def test_boxes_are_clipped_and_empty_ones_left_out(box, expected):
    assert where(marks.draw_boxes(gray(), [box], RED), RED) == expected


def test_equal_boxes_show_both_colours():
    box = [10, 20, 50, 90]
    drawn = marks.draw_boxes(gray(), [box, box], [RED, BLUE])
    assert where(drawn, RED) == (10, 20, 50, 90)
    assert where(drawn, BLUE) == (13, 23, 47, 87)


def test_no_boxes_draw_nothing():
    for none in ([], np.zeros([0, 4])):
        np.testing.assert_array_equal(marks.draw_boxes(gray(), none, RED, labels=[]), gray())


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [0, 280, 20, 300], [180, 280, 200, 300], [0, 0, 200, 300]])
def test_labels_stay_inside_the_image(monkeypatch, box):
    places = tags(monkeypatch)
    marks.draw_boxes(gray(300, 200), [box], RED, labels=["person 0.93"])
    ((left, top, right, bottom),) = places
    assert left >= 0 and top >= 0 and right <= 300 and bottom <= 200


def test_labels_of_equal_and_neighbouring_boxes_do_not_cover_each_other(monkeypatch):
    places = tags(monkeypatch)
    boxes = [[60, 60, 140, 200]] * 3 + [[62, 64, 140, 204], [20, 60, 60, 120]]
    labels = ["0.91", "0.82", "0.73", "0.64", "0.55"]
    marks.draw_boxes(gray(300, 200), boxes, RED, labels=labels)
    pairs = [(one, two) for k, one in enumerate(places) for two in places[:k]]
    assert len(places) == 5 and all(shared_area(one, two) == 0 for one, two in pairs)


def test_empty_boxes_take_their_labels_along(monkeypatch):
    places = tags(monkeypatch)
    marks.draw_boxes(gray(), [[5, 5, 5, 9], [5, 5, 30, 30]], RED, labels=["gone", "here"])
    assert len(places) == 1


def test_the_number_of_labels_and_colours_must_fit():
    with pytest.raises(ValueError, match="got 1 boxes, 1 colors and 2 labels"):
        marks.draw_boxes(gray(), [[0, 0, 9, 9]], RED, labels=["a", "b"])
    with pytest.raises(ValueError, match="got 1 boxes, 2 colors and 1 labels"):
        marks.draw_boxes(gray(), [[0, 0, 9, 9]], [RED, BLUE])


def test_a_panel_shows_the_truth_at_the_left_and_the_prediction_at_the_right():
    """A 240 x 120 picture is doubled, its boxes too. The truth has no object, the prediction no
    subject."""
    sky = (10, 200, 220)  # no letter has it
    image = Image.new("RGB", (240, 120), sky)
    panel = query_panels.query_panel(image, ", , ", ([[10, 20, 50, 80]], []), ([], np.array([[60.0, 100, 110, 200]])))
    pixels = np.asarray(panel)
    rows, columns = np.nonzero((pixels == sky).all(-1))
    top, left, middle = rows.min(), columns.min(), panel.width // 2
    assert rows.max() + 1 - top == 240
    body = panel.crop((0, top, panel.width, panel.height))
    truth = body.crop((left, 0, left + 480, 240))
    prediction = body.crop((middle, 0, panel.width, 240))
    assert where(truth, SUBJECT_COLOR) == (20, 40, 100, 160)
    assert where(truth, OBJECT_COLOR) is None and where(prediction, SUBJECT_COLOR) is None
    bottom = where(prediction, OBJECT_COLOR)
    assert (bottom[0], bottom[2], bottom[3] - bottom[1]) == (120, 220, 200)


def test_without_truth_there_is_one_picture():
    boxes = ([[5, 5, 30, 30]], [[20, 20, 50, 50]])
    both = query_panels.query_panel(gray(), "cup, on, table", boxes, boxes)
    single = query_panels.query_panel(gray(), "cup, on, table", None, boxes)
    assert both.height == single.height and both.width > 1.9 * single.width


@pytest.mark.parametrize("size", [(16, 12), (320, 240), (3000, 2000), (20, 900), (900, 20), (1, 1)])
def test_panels_are_of_a_readable_size(size):
    panel = query_panels.query_panel(Image.new("L", size), "a, b, c", ([], []), ([], []))
    assert 400 < panel.width < 1800 and panel.height < 1100


def test_scores_are_drawn_and_words_that_are_not_ascii_or_too_long_are_no_problem(monkeypatch):
    places = tags(monkeypatch)
    boxes = ([[5, 5, 30, 30], [8, 8, 50, 60]], [[20, 20, 50, 50]])
    text = "größter Würfel, слева от, 球 " + "and so on " * 40 + "x" * 300
    short = query_panels.query_panel(gray(), "a, b, c", boxes, boxes)
    assert not places
    long = query_panels.query_panel(gray(), text, boxes, boxes, ([0.5, 0.25], [1.0]), (0.5, 0.75))
    assert len(places) == 3
    assert long.height > short.height and long.width == short.width
    plain = query_panels.query_panel(gray(), "no commas", boxes, boxes)
    assert plain.size == short.size


def test_a_grid_keeps_every_panel_whole():
    panels = [
        Image.new("RGB", size, color) for size, color in [((30, 10), RED), ((10, 50), BLUE), ((20, 20), SUBJECT_COLOR)]
    ]
    sheet = canvas.grid(panels, columns=2)
    places = [where(sheet, panel.getpixel((0, 0))) for panel in panels]
    assert [(bottom - top, right - left) for top, left, bottom, right in places] == [(10, 30), (50, 10), (20, 20)]
    first, second, third = places
    assert first[0] == second[0] and first[3] < second[1]
    assert third[0] > second[2] and third[1] == first[1]
    with pytest.raises(ValueError, match="got 0 and 2"):
        canvas.grid([], columns=2)
    with pytest.raises(ValueError, match="got 3 and 0"):
        canvas.grid(panels, columns=0)


def test_a_png_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "figures" / "panel.png"
    canvas.save_png(gray(), str(path))
    np.testing.assert_array_equal(Image.open(path), gray())

    class Broken:
        def save(self, name, _):
            with open(name, "wb") as file:
                file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        canvas.save_png(Broken(), str(path))
    assert [file.name for file in path.parent.iterdir()] == ["panel.png"]
    np.testing.assert_array_equal(Image.open(path), gray())
