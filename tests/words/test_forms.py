"""Plurals, and the forms of verbs."""

import pytest

from dsg_tf.words import forms


@pytest.mark.parametrize(
    "one, many",
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("box", "boxes"),
        ("bench", "benches"),
        ("toothbrush", "toothbrushes"),
        ("knife", "knives"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("mouse", "mice"),
        ("sheep", "sheep"),
        ("person", "people"),
        ("woman", "women"),
        ("policeman", "policemen"),
        ("human", "humans"),
        ("potato", "potatoes"),
    ],
)
def test_plurals(one, many):
    assert (many,) in set(forms.plurals((one,)))
    assert ("old", many) in set(forms.plurals(("old", one)))


@pytest.mark.parametrize(
    "relation, active, passive",
    [
        ("ride", ["ride", "rides", "riding", "rode"], ["ridden by"]),
        ("wearing", ["wear", "wears", "wearing", "wore"], ["worn by"]),
        ("carry", ["carry", "carries", "carrying", "carried"], ["carried by"]),
        ("hit", ["hit", "hits", "hitting", "hit"], ["hit by"]),
        ("has", ["have", "has", "having", "had"], ["had by"]),
        ("watches", ["watch", "watches", "watching", "watched"], ["watched by"]),
        ("sit on", ["sit on", "sits on", "sitting on", "sat on", "sat on"], ["sat on by"]),
        ("lying on", ["lie on", "lies on", "lying on", "lay on", "lain on"], ["lain on by"]),
        ("parked on", ["park on", "parks on", "parking on", "parked on", "parked on"], ["parked on by"]),
        ("cover", ["cover", "covers", "covering", "covered"], ["covered by", "covered with", "covered in"]),
        ("left of", [], []),
    ],
)
def test_forms_of_verbs(relation, active, passive):
    words = tuple(relation.split())
    assert [" ".join(form) for form in forms.active(words)] == active
    assert [" ".join(form) for form in forms.passive(words)] == passive


def test_a_passive_has_an_active():
    assert forms.without_passive(("worn", "by")) == ("wear",)
    assert forms.without_passive(("sat", "on", "by")) == ("sit", "on")
    for other in (("by",), ("wearing", "by"), ("attached", "to"), ("near", "by"), ("worn",)):
        assert forms.without_passive(other) is None
