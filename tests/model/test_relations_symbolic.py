"""The graph layer and the classifier learn relations where nothing else is to be learned."""

from symbolic import accuracy


def test_relations_are_learned():
    # 0.91; 0.86 without products and relative geometry, 0.52 with all boxes of the class.
    assert accuracy() > 0.89


def test_a_network_that_does_not_see_the_relation_answers_by_class():
    assert accuracy(sees_relation=False) < 0.6
