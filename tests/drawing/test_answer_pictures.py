"""Pictures of answers and of scene graphs."""

import dataclasses

import numpy as np
from PIL import Image

from dsg_tf.drawing import answer_pictures, canvas, marks
from dsg_tf.predict.answers import Answer, LabelledGraph

SIZE = (500, 400)  # (width, height): drawn as it is, neither enlarged nor reduced.
BOXES = np.array([[50, 40, 150, 240], [200, 300, 350, 450], [20, 300, 120, 480]], np.float32)


def gray():
    return Image.new("RGB", SIZE, (128, 128, 128))


def answer(subjects, objects):
    """Boxes, with scores 0.9, 0.8 ..."""
    scores = [0.9 - 0.1 * np.arange(len(boxes)) for boxes in (subjects, objects)]
    return Answer("dog, on, hat", subjects[0], 0.9, subjects, scores[0], objects[0], 0.9, objects, scores[1])


def has(picture, color) -> bool:
    return bool((np.asarray(picture) == color).all(axis=-1).any())


def test_every_answer_has_a_panel_and_two_stand_side_by_side(tmp_path):
    gray().save(tmp_path / "a.png")
    encoded = (tmp_path / "a.png").read_bytes()
    answers = [answer(BOXES[:1], BOXES[1:2]), answer(BOXES[:2], BOXES[2:]), answer(BOXES, BOXES)]
    one, two, three = (answer_pictures.draw(encoded, answers[:count]) for count in (1, 2, 3))
    assert two.height == one.height and two.width > 1.9 * SIZE[0] > one.width
    assert three.width == two.width and three.height > two.height + SIZE[1]
    assert has(one, canvas.SUBJECT_COLOR) and has(one, canvas.OBJECT_COLOR)


def test_a_panel_says_that_nothing_was_found_and_shows_the_boxes_all_the_same(tmp_path, monkeypatch):
    gray().save(tmp_path / "a.png")
    encoded, texts = (tmp_path / "a.png").read_bytes(), []
    text = canvas.text
    monkeypatch.setattr(canvas, "text", lambda runs, *rest: texts.extend(t for t, _ in runs) or text(runs, *rest))
    doubtful = dataclasses.replace(answer(BOXES[:1], BOXES[1:2]), answer_probability=0.031)
    picture = answer_pictures.draw(encoded, [doubtful])
    assert "not found (0.03)" in texts and has(picture, canvas.NOTE_COLOR) and has(picture, canvas.SUBJECT_COLOR)
    texts.clear()
    for shown, threshold in ((doubtful, 0.03), (answer(BOXES[:1], BOXES[1:2]), 0.5)):
        assert not has(answer_pictures.draw(encoded, [shown], threshold), canvas.NOTE_COLOR)
    assert texts and not any("not found" in text for text in texts)


def test_the_boxes_of_an_answer_are_drawn_where_they_are(tmp_path, monkeypatch):
    gray().save(tmp_path / "a.png")
    drawn = []
    monkeypatch.setattr(marks, "draw_boxes", lambda image, boxes, *rest: drawn.append((boxes, *rest)) or image)
    answer_pictures.draw((tmp_path / "a.png").read_bytes(), [answer(BOXES[:2], BOXES[2:])])
    ((boxes, colors, labels),) = drawn
    np.testing.assert_array_equal(boxes, BOXES)
    assert colors == [canvas.SUBJECT_COLOR] * 2 + [canvas.OBJECT_COLOR] and labels == ["0.90", "0.80", "0.90"]


def test_a_graph_shows_the_boxes_of_the_relations_it_draws():
    first, second, third = answer_pictures.COLORS[:3]
    scores, names = np.array([0.9, 0.8, 0.7]), ["dog", "hat", "ball"]
    one = LabelledGraph(BOXES, names, scores, [(0, "on", 1)], np.array([0.6]))
    picture = answer_pictures.draw_graph(gray(), one)
    assert has(picture, first) and has(picture, second) and not has(picture, third)
    assert picture.width > SIZE[0] + 300  # The list of relations is beside the image.
    none = answer_pictures.draw_graph(gray(), LabelledGraph(BOXES, names, scores, [], np.zeros([0])))
    assert not has(none, first) and none.width < picture.width

    many = [(k % 2, "on", 1) for k in range(answer_pictures.RELATIONS_DRAWN)]
    cut = LabelledGraph(BOXES, names, scores, [*many, (2, "under", 1)], np.linspace(0.9, 0.3, len(many) + 1))
    assert not has(answer_pictures.draw_graph(gray(), cut), third)
