"""Questions in free text, read with the words of a vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from dsg_tf.data.queries import Query
from dsg_tf.data.scene import Vocabulary
from dsg_tf.words import aliases as alias_lib
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.entities import Entities
from dsg_tf.words.refusals import NotUnderstood, Refusals, shown
from dsg_tf.words.relations import Relations
from dsg_tf.words.sentences import Grammar, Reading, requests
from dsg_tf.words.tokens import parts, tokens

# A question may come from a stranger: a sentence is short, and what it stands for is not without limit.
MAX_CHARACTERS, MAX_WORDS, MAX_TRIPLETS = 500, 40, 2500
_NAMES_TOLD = 8


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked, as it was understood.

    Attributes:
      text: as the user wrote it.
      subject_text, relation_text, object_text: the words of each part; those of a passive are exchanged, so that the
        subject is that of the triplets. "" where there is no subject: then it is anything.
      subjects, relations, objects: the class ids that each part stands for, ascending.
      understood: the same for people, "red cube: red rubber cube, red metal cube; left of: left; ball: ...".
    """

    text: str
    subject_text: str
    relation_text: str
    object_text: str
    subjects: tuple[int, ...]
    relations: tuple[int, ...]
    objects: tuple[int, ...]
    understood: str

    @property
    def triplets(self) -> tuple[tuple[int, int, int], ...]:
        """Class ids (subject, relation, object) of all that the question stands for, ascending."""
        return tuple((s, r, o) for s in self.subjects for r in self.relations for o in self.objects)


class Words:
    """Reads questions.

    Args:
      vocabulary: of the model.
      aliases: other words for its names, those that win first; None: those that come with the program.
    """

    def __init__(self, vocabulary: Vocabulary, aliases: Sequence[Aliases] | None = None):
        sources = alias_lib.for_vocabulary(vocabulary) if aliases is None else aliases
        self.vocabulary = vocabulary
        self._grammar = Grammar(Entities(vocabulary.entities, sources), Relations(vocabulary.relations, sources))
        self._refusals = Refusals(vocabulary, self._grammar)

    def read(self, query: str | Query) -> Question:
        """What a text asks for; a `Query`, whose parts are told, may have commas in its names.

        Three names with commas between are that triplet. Else three parts with commas between them are read each on its
        own, or, where that is nothing, the text as a sentence. Of several readings the one with the longest relation
        counts.

        Raises:
          NotUnderstood: a ValueError that names the part that is not understood and what is near to it, or the readings
            where there are several; or the text is too long, or stands for too many triplets.
        """
        query = query if isinstance(query, Query) else Query.parse(query)
        exact, text = self._exact(query), query.text
        if exact is not None:
            return exact
        if len(text) > MAX_CHARACTERS:
            raise NotUnderstood(text, f"{shown(text)} is too long: {len(text)} of at most {MAX_CHARACTERS} characters")
        words = tokens(text)
        if len(words) > MAX_WORDS:
            raise NotUnderstood(text, f"{shown(text)} is too long: {len(words)} of at most {MAX_WORDS} words")
        return self._question(text, self._reading(text))

    def _exact(self, query: Query) -> Question | None:
        try:
            subject, relation, object_ = query.ids(self.vocabulary)
        except ValueError:
            return None
        entities = self.vocabulary.entities
        names = entities[subject], self.vocabulary.relations[relation], entities[object_]
        return Question(query.text, *names, (subject,), (relation,), (object_,), "; ".join(names))

    def _reading(self, text: str) -> Reading:
        """The one reading of a text that is no triplet of names."""
        divided = [tokens(part) for part in parts(text)]
        if len(divided) == 3:
            for subject in requests(divided[0]):
                found = list(self._grammar.of_parts(subject, divided[1], divided[2]))
                if found:
                    return self._only(text, found)
        sentence = tokens(text)
        for words in requests(sentence):
            found = self._grammar.best(words)
            if found:
                return self._only(text, found)
        if len(divided) == 3:
            entities = self._grammar.entities
            subject = next(filter(entities.read, requests(divided[0])), divided[0])
            raise self._refusals.of_parts(text, (subject, *divided[1:]))
        raise self._refusals.of_sentence(text, *list(requests(sentence))[-1:])

    def _only(self, text: str, readings: Sequence[Reading]) -> Reading:
        if len(readings) > 1:
            raise self._refusals.ambiguous(text, readings)
        return readings[0]

    def _question(self, text: str, reading: Reading) -> Question:
        subjects, relations, objects = (tuple(sorted(ids)) for ids in reading.asked)
        said = [" ".join(words) for words in (reading.subject, reading.relation, reading.object)]
        count = len(subjects) * len(relations) * len(objects)
        if count > MAX_TRIPLETS:
            raise NotUnderstood(
                text, f"{shown(text)} stands for {count} triplets, at most {MAX_TRIPLETS} can be asked: say more of it"
            )
        names = self.vocabulary.entities, self.vocabulary.relations, self.vocabulary.entities
        understood = "; ".join(map(_told, said, (subjects, relations, objects), names))
        subject_text, relation_text, object_text = said
        return Question(text, subject_text, relation_text, object_text, subjects, relations, objects, understood)


def _told(said: str, ids: Collection[int], names: Sequence[str]) -> str:
    """A part and the names it stands for; a name alone where that is what was said."""
    if len(ids) == len(names) > 1:
        return f"{said or 'nothing said'}: any"
    told = [names[number] for number in ids]
    if told == [said]:
        return said
    rest = f" and {len(told) - _NAMES_TOLD} more" if len(told) > _NAMES_TOLD else ""
    return f"{said}: {', '.join(told[:_NAMES_TOLD])}{rest}"
