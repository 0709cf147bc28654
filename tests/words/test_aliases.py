"""Files of other words, and which of them is for a vocabulary."""

import json

import pytest
import vocabularies

from dsg_tf.data.scene import Vocabulary
from dsg_tf.words import aliases
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.refusals import NotUnderstood
from dsg_tf.words.words import Words

PETS = Vocabulary(("dog", "cat", "traffic light"), ("on", "wearing"))


def write(path, value) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["clevr", "coco", "vrd"])
def test_the_file_of_a_vocabulary_is_found_by_its_names(name):
    vocabulary = vocabularies.BY_NAME[name]
    assert aliases.shipped(name).coverage(vocabulary) == 1
    assert aliases.for_vocabulary(vocabulary) == (aliases.shipped(name), aliases.shipped("english"))
    some = Vocabulary(vocabulary.entities[:20] + ("zzz", "yyy"), vocabulary.relations)
    assert aliases.for_vocabulary(some)[0] is aliases.shipped(name)  # 20 of 22.
    few = Vocabulary(vocabulary.entities[:3] + ("zzz", "yyy"), vocabulary.relations)
    assert aliases.for_vocabulary(few) == (aliases.shipped("english"),)


@pytest.mark.parametrize("name", ["clevr", "coco", "vrd", "english"])
def test_what_is_shipped_says_something(name):
    """A word stands in one group twice only where it means several; each group of relations has several words."""
    shipped = aliases.shipped(name)
    assert all(len(set(group)) == len(group) for group in shipped.entities + shipped.relations)
    assert all(len(group) > 1 for group in shipped.relations)
    for vocabulary in vocabularies.BY_NAME.values():
        Words(vocabulary, [shipped])


def test_a_model_has_words_of_its_own_and_they_win(tmp_path):
    words = {"entities": [["dog", "mutt", "animal"], ["cat", "moggy"]], "relations": [["wearing", "in"]]}
    write(tmp_path / "aliases.json", {**words, "anything": ["critter"]})
    read = Words(PETS, aliases.for_vocabulary(PETS, str(tmp_path))).read
    assert read("a mutt in a moggy").triplets == ((0, 1, 1),)
    assert read("critters on animals").triplets == ((0, 0, 0), (1, 0, 0), (2, 0, 0))
    assert read("dogs upon cats").triplets == ((0, 0, 1),)  # What English has still goes.
    with pytest.raises(NotUnderstood):
        Words(PETS).read("a mutt in a moggy")
    assert aliases.for_vocabulary(PETS, str(tmp_path / "elsewhere")) == aliases.for_vocabulary(PETS)


def test_the_first_source_wins_and_a_name_means_itself():
    first, second = Aliases((("dog", "pet"),)), Aliases((("cat", "pet", "kitty"), ("dog", "kitty")))
    read = Words(PETS, (first, second)).read
    assert read("pet on cat").subjects == (0,)
    assert read("kitty on cat").subjects == (0, 1)  # In one source it is both.
    assert read("cats on dog").triplets == ((1, 0, 0),)  # The plural of a name is nearer than other words.


def test_visual_genomes_files_are_read(tmp_path):
    objects = write(tmp_path / "object_alias.txt", "dog,doggy, puppy \n\ncat,,kitten\nzebra,zeebra\n")
    relations = write(tmp_path / "relationship_alias.txt", "on,on top of,sitting atop\n")
    read = aliases.read_visual_genome(objects, relations)
    assert read.entities == (("dog", "doggy", "puppy"), ("cat", "kitten"), ("zebra", "zeebra"))
    assert read.relations == (("on", "on top of", "sitting atop"),)
    assert Words(PETS, (read,)).read("the puppies sitting atop the kitten").triplets == ((0, 0, 1),)
    assert aliases.read_visual_genome(objects).relations == ()
    assert aliases.for_vocabulary(PETS, str(tmp_path))[0] == read
    (tmp_path / "relationship_alias.txt").unlink()
    write(tmp_path / "aliases.json", {"anything": ["critter"]})
    both = aliases.for_vocabulary(PETS, str(tmp_path))[:2]
    assert both == (Aliases(anything=("critter",)), Aliases(entities=read.entities))


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not valid JSON"),
        ("[1]", "must be an object with entities, relations, anything, it has a list"),
        ('{"entity": []}', "it has entity"),
        ('{"entities": [["dog", 3]]}', r"entities must have lists of words, not \[.dog., 3\]"),
        ('{"relations": ["left"]}', "relations must have lists of words, not .left."),
        ('{"anything": ["-"]}', "anything must have lists of words"),
        ('{"entities": 3}', "entities must be a list, not 3"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, text, message):
    path = write(tmp_path / "aliases.json", text)
    with pytest.raises(ValueError, match=message) as caught:
        aliases.for_vocabulary(PETS, str(tmp_path))
    assert path in str(caught.value)
    with pytest.raises(ValueError, match=message):
        aliases.copy(str(tmp_path), str(tmp_path / "copy"))


def test_the_file_goes_along_with_the_model(tmp_path):
    aliases.copy(str(tmp_path), str(tmp_path / "target"))  # There is none.
    write(tmp_path / "aliases.json", {"anything": ["critter"]})
    (tmp_path / "target").mkdir()
    aliases.copy(str(tmp_path), str(tmp_path / "target"))
    assert aliases.read(str(tmp_path / "target" / "aliases.json")) == Aliases(anything=("critter",))
    write(tmp_path / "object_alias.txt", "dog,doggy\n")
    aliases.copy(str(tmp_path), str(tmp_path / "target"))
    assert (tmp_path / "target" / "object_alias.txt").read_text() == "dog,doggy\n"
