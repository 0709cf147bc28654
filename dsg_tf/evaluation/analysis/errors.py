"""Error analysis (the paper, section 6.1), for every query and both of its roles, without a person's judgement.

Each (query, role) lands in exactly one kind, the first that applies:

  right           every true box is answered, and nothing else
  missed          a true box has no proposal with IoU of at least 0.5, before or after its refinement
  multiplicity    some of the answers are right, but there are too few or too many of them
  relation        all answers are wrong, but one lies on another box of the right class
  misclassified   all answers lie on boxes of another class, or on none

A box *answers* the true box with which its IoU is largest and at least 0.5. The paper's fifth kind, "other", collects
what a person found hard to decide; here it is what is right by boxes and yet has a mask IoU below 0.5:

  other           every true box is answered, and nothing else, but not precisely
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dsg_tf.data.roles import QUERY_PARTS, ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import canvas, query_panels
from dsg_tf.evaluation.analysis.samples import Sample

# What a report says of each.
MEANINGS = {
    "right": "every true box is answered, and nothing else",
    "missed": "a true box was not proposed",
    "misclassified": "the answers lie on boxes of another class, or on none",
    "relation": "the answers are wrong, but one is of the right class",
    "multiplicity": "too few or too many answers, some of them right",
    "other": "the right boxes, but not precisely",
}
KINDS = tuple(MEANINGS)
MATCH_IOU = 0.5
PRECISE_IOU = 0.5
PANELS_PER_KIND = 4


def analyze(
    samples: Iterable[Sample], ious: dict[tuple[int, int, str], float], vocabulary: Vocabulary
) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    """Counts the kinds of error over a split.

    Args:
      samples: its images.
      ious: mask IoU of (image number, query number, role).
      vocabulary: for names.

    Returns:
      A dict for JSON: `all`, `ambiguous` and `unambiguous` (several boxes of the role's class or one),
      `by_relation` and `by_entity` (class of the role), each {kind: share}, with `count`; and pictures
      `{"errors_<kind>": image}`.

    Raises:
      ValueError: the system answers with maps, not with boxes.
    """
    counts: dict[tuple[str, ...], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    panels: dict[str, list[tuple[int, Image.Image]]] = collections.defaultdict(list)
    for sample in samples:
        if "boxes" not in sample.outputs:
            raise ValueError("the error analysis is about boxes; this system answers with maps")
        kinds = {
            role: of_sample(sample, role, [ious[sample.number, query, role] for query in range(len(sample.queries))])
            for role in ROLES
        }
        for query, triplet in enumerate(sample.queries):
            for role, category in zip(ROLES, triplet[[0, 2]]):
                kind = kinds[role][query]
                ambiguous = (sample.entities == category).sum() > 1
                for group in (
                    ("all",),
                    ("ambiguous" if ambiguous else "unambiguous",),
                    ("by_relation", vocabulary.relations[triplet[1]]),
                    ("by_entity", vocabulary.entities[category]),
                ):
                    counts[group][kind] += 1
                if (
                    kind != "right"
                    and len(panels[kind]) < PANELS_PER_KIND
                    and all(sample.number != number for number, _ in panels[kind])
                ):
                    panels[kind].append((sample.number, _panel(sample, query, role, vocabulary, ious)))
    report: dict[str, Any] = {name: _shares(counts[name,]) for name in ("all", "ambiguous", "unambiguous")}
    for breakdown in ("by_relation", "by_entity"):
        groups = sorted(key[1] for key in counts if key[0] == breakdown)
        report[breakdown] = {name: _shares(counts[breakdown, name]) for name in groups}
    pictures = {
        f"errors_{kind}": canvas.grid([panel for _, panel in chosen], columns=2)
        for kind, chosen in panels.items()
        if chosen
    }
    return report, pictures


def of_sample(sample: Sample, role: str, mask_ious: Sequence[float]) -> list[str]:
    """The kind of the answer to each query of an image, in one role; `mask_ious` `[Q]`."""
    classes = sample.queries[:, QUERY_PARTS.index(role), np.newaxis]
    refined, proposed = sample.overlaps
    return categorize(
        refined,
        proposed,
        valid=sample.outputs["valid"],
        answers=sample.outputs[f"{role}_mask"],
        wanted=getattr(sample, f"{role}_of"),
        of_class=sample.entities == classes,
        mask_ious=mask_ious,
    )


def categorize(refined, proposed, *, valid, answers, wanted, of_class, mask_ious) -> list[str]:
    """The kinds of the answers to all queries of an image.

    Args:
      refined, proposed: IoU `[N, M]` of the boxes, and of what they were proposed as, with the true boxes.
      valid: bool `[N]`.
      answers: bool `[Q, N]`, the boxes that answer.
      wanted: bool `[Q, M]`, the true boxes; of_class: bool `[Q, M]`, the boxes of their class.
      mask_ious: float `[Q]`, of the metric.
    """
    detected = np.where(valid[:, np.newaxis], np.maximum(refined, proposed), 0).max(axis=0, initial=0) >= MATCH_IOU
    lies_on_one = refined.max(axis=1, initial=0) >= MATCH_IOU
    lies_on = (np.arange(refined.shape[1]) == refined.argmax(axis=1)[:, np.newaxis]) & lies_on_one[:, np.newaxis]
    answered = answers.astype(np.int32) @ lies_on.astype(np.int32) > 0  # [Q, M]
    exactly = (answered == wanted).all(axis=1) & ~(answers & ~lies_on_one).any(axis=1)
    precise = np.asarray(mask_ious) >= PRECISE_IOU
    cases = {
        "right": exactly & precise,
        "other": exactly,
        "missed": (wanted & ~detected).any(axis=1),
        "multiplicity": (answered & wanted).any(axis=1),
        "relation": (answered & of_class).any(axis=1),
    }
    return np.select(list(cases.values()), list(cases), "misclassified").tolist()


def _shares(counter: collections.Counter[str]) -> dict[str, float]:
    total = sum(counter.values())
    return {"count": total, **{kind: round(counter[kind] / total, 4) if total else 0.0 for kind in KINDS}}


def _panel(sample, query, role, vocabulary, ious):
    subject, relation, object_ = sample.queries[query]
    words = (vocabulary.entities[subject], vocabulary.relations[relation], vocabulary.entities[object_])
    outputs = {name: value[np.newaxis] for name, value in sample.outputs.items()}
    truth = [sample.boxes[getattr(sample, f"{r}_of")[query]] for r in ROLES]
    return query_panels.query_panel(
        sample.image,
        ", ".join(words),
        truth=truth,
        ious=[ious[sample.number, query, r] for r in ROLES],
        **query_panels.answer(outputs, query),
    )
