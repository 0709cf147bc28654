"""CLEVR's 48 entity classes (8 colours x 3 shapes x 2 materials) and its four relations."""

from __future__ import annotations

from dsg_tf.data.scene import Vocabulary

COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")
RELATIONS = ("left", "right", "front", "behind")

VOCABULARY = Vocabulary(
    entities=tuple(f"{color} {material} {shape}" for color in COLORS for shape in SHAPES for material in MATERIALS),
    relations=RELATIONS,
)


def entity_id(color: str, shape: str, material: str) -> int:
    """The class of an object.

    Raises:
      ValueError: a word is not one of CLEVR's.
    """
    for kind, word, known in (("color", color, COLORS), ("shape", shape, SHAPES), ("material", material, MATERIALS)):
        if word not in known:
            raise ValueError(f"unknown {kind} {word!r}, known are {', '.join(known)}")
    return (COLORS.index(color) * len(SHAPES) + SHAPES.index(shape)) * len(MATERIALS) + MATERIALS.index(material)
