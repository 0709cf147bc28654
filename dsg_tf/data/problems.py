"""What is wrong with a data set, counted per kind with the first offenders named."""

from __future__ import annotations

import dataclasses

# What each kind means and what becomes of the data; shown to whoever prepares a data set.
KINDS = {
    "missing_metadata": "the image has no (usable) size in the metadata; its own size is used",
    "missing_image": "the image file is not there; the image is left out",
    "unreadable_image": "the image file does not decode to a JPEG or PNG; the image is left out",
    "size_mismatch": "image and metadata differ in size, so its boxes cannot be trusted; left out",
    "malformed_annotation": "the annotation is not of the documented form; left out",
    "unknown_entity": "the entity class is not in the vocabulary; its relationships are left out",
    "unknown_relation": "the relation class is not in the vocabulary; left out",
    "malformed_box": "the box is not four finite numbers; its relationships are left out",
    "zero_area_box": "no area of the box lies in the image; its relationships are left out",
    "out_of_image_box": "the box leaves the image; clipped to the image",
    "self_relation": "subject and object are the same box; kept",
    "duplicate_relation": "the same relationship again; merged",
    "rare_class": "a class is not among the most frequent ones that were asked for; the relationship is left out",
    "crowd_box": "the box is that of a crowd; left out",
    "small_box": "the box is too small to be a relationship's; left out",
    "attribute": "the row tells what one box is, it is no relationship; left out",
    "no_relationship": "the image has no relationship, or none of the classes that were asked for; left out",
    "nothing_left": "the image lost all its relationships to the problems above; left out",
}

# Redundant, absent or not asked for, but not broken: no reason for `--strict` to stop.
HARMLESS = ("duplicate_relation", "rare_class", "crowd_box", "small_box", "attribute", "no_relationship")

_NAMED = 5


class PreparationError(ValueError):
    """Data or arguments that cannot be prepared; the message says what to change."""


@dataclasses.dataclass
class Problems:
    """Counts of problems, kind by kind.

    Attributes:
      strict: raise a `PreparationError` on the first problem that is not harmless.
      found: `{kind: {"count": n, "first": [up to five descriptions]}}`, in order of appearance.
    """

    strict: bool = False
    found: dict[str, dict] = dataclasses.field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        """Counts one problem; `what` names the image and the offending value."""
        self._add(kind, 1, [what])

    def merge(self, found: dict[str, dict]) -> None:
        """Adds what another part of the same split found, in the order of the parts."""
        for kind, entry in found.items():
            self._add(kind, entry["count"], entry["first"])

    def _add(self, kind: str, count: int, first: list[str]) -> None:
        if self.strict and kind not in HARMLESS:
            raise PreparationError(f"{kind}: {first[0]} (--strict)")
        entry = self.found.setdefault(kind, {"count": 0, "first": []})
        entry["count"] += count
        entry["first"] = (entry["first"] + first)[:_NAMED]

    def in_order(self) -> dict[str, dict]:
        """`found` with the kinds in the order of `KINDS`, whatever order they appeared in."""
        return {kind: self.found[kind] for kind in KINDS if kind in self.found}

    def __str__(self) -> str:
        lines = []
        for kind, entry in self.in_order().items():
            lines.append(f"{kind} {entry['count']}: {KINDS[kind]}")
            lines += [f"    {what}" for what in entry["first"]]
            if entry["count"] > len(entry["first"]):
                lines.append("    ...")
        return "\n".join(lines)
