"""Queries in words."""

import time

import pytest

from dsg_tf.data import queries
from dsg_tf.data.queries import Query
from dsg_tf.data.scene import Vocabulary

VOCABULARY = Vocabulary(
    entities=("red rubber cube", "blue metal sphere", "Traffic  light"),
    relations=("left", "right", "on the left of", "on the right of", "behind", "left behind"),
)


def test_a_query_is_read_as_class_ids():
    assert Query.parse("red rubber cube, left, blue metal sphere").ids(VOCABULARY) == (0, 0, 1)
    query = Query.parse("  traffic   light,on the LEFT of ,Red rubber cube ")
    assert query.ids(VOCABULARY) == (2, 2, 0)
    assert query.text == "  traffic   light,on the LEFT of ,Red rubber cube "


@pytest.mark.parametrize(
    ["text", "message"],
    [
        ("red rubber cub, left, traffic light", "'red rubber cub': did you mean 'red rubber cube'"),
        ("traffic light, lef, traffic light", "unknown relation 'lef': did you mean 'left'"),
        ("traffic light, left, zzz", "unknown object 'zzz'; the vocabulary has red"),
        ("traffic light, left", "three parts .* 'traffic light, left' has 2"),
    ],
)
def test_what_is_unknown_is_named_and_what_is_near(text, message):
    with pytest.raises(ValueError, match=message):
        Query.parse(text).ids(VOCABULARY)


@pytest.mark.parametrize(
    ["text", "count"],
    [("", 0), ("dog", 1), ("dog on hat", 1), ("dog, on,", 2), (" , ,", 0), ("dog, , on, hat", 4), ("a, b, c, d", 4)],
)
def test_what_is_not_of_three_parts_has_a_problem_and_no_ids(text, count):
    query = Query.parse(text)
    assert query.problem == (
        f'a query is "subject, relation, object", three parts with commas between them; {text!r} has {count}'
    )
    with pytest.raises(ValueError, match=f"has {count}$"):
        query.ids(VOCABULARY)
    with pytest.raises(ValueError, match=f"has {count}$"):
        queries.parse_all(["dog, on, hat", text])


def test_several_queries_are_read_in_order():
    texts = ["dog, on, hat", "hat,under , dog"]
    assert queries.parse_all(texts) == [Query(texts[0], ("dog", "on", "hat")), Query(texts[1], ("hat", "under", "dog"))]
    assert queries.parse_all([]) == [] and not Query.parse(texts[1]).problem


def test_names_with_commas_make_a_query():
    vocabulary = Vocabulary(("sign, round", "dog"), ("on", "left, behind"))
    query = Query.of_words("sign, round", "left, behind", "dog")
    assert (query.text, query.problem, query.ids(vocabulary)) == ("sign, round, left, behind, dog", "", (0, 1, 1))


def test_a_name_is_looked_up_alone():
    assert queries.look_up("relation", "  LEFT  behind", VOCABULARY.relations) == 5
    with pytest.raises(ValueError, match="^unknown subject 'red rubber cub': did you mean 'red rubber cube'[?]$"):
        queries.look_up("subject", "red rubber cub", VOCABULARY.entities)


def test_errors_stay_short_and_cheap_whatever_is_asked():
    names = tuple(f"{color} thing number {number}" for number in range(512) for color in "abcdefgh")
    begin = time.process_time()
    for word in ("x" * 2**20, "thing " * 200_000):
        with pytest.raises(ValueError, match="^unknown object '.{60}'[.]{3}; the vocabulary has a thing") as caught:
            queries.look_up("object", word, names)
        assert len(str(caught.value)) < 3000 and "and 3996 more" in str(caught.value)
    with pytest.raises(ValueError, match="three parts") as caught:
        Query.parse("x" * 2**20).ids(VOCABULARY)
    assert len(str(caught.value)) < 300
    assert time.process_time() - begin < 1
    begin = time.process_time()
    for number in range(100):
        assert queries.look_up("object", f"h thing number {number}", names) == 8 * number + 7
    assert time.process_time() - begin < 0.1
