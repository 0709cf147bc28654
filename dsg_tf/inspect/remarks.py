"""What of a data set is worth a look before a training, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsg_tf.data.records import DatasetInfo
from dsg_tf.inspect.counts import FAULTS
from dsg_tf.inspect.reading import Seen

NAMED = 8
FEW = 10  # Examples of a class in the training split.
REACHED = 0.9  # Share of the boxes that some anchor should reach at the first threshold.


def remarks(info: DatasetInfo, seen: Mapping[str, Seen]) -> list[str]:
    """Sentences about faults, images in two splits, classes that are missing, and anchors that do not reach."""
    found = []
    for split, part in seen.items():
        found += [f"{split}: {FAULTS[kind]}: {count:,}" for kind, count in part.counts.faults.items()]
        if not part.counts.num_images:
            found.append(f"{split} has no images")
        elif not part.counts.num_relation_rows:
            found.append(f"{split} has no relations: there is nothing to ask")
        twice = sum(count - 1 for count in part.counts.digests.values())
        if twice:
            found.append(f"{split}: images whose file was there before: {twice:,}")
    found += _in_two_splits(seen)
    if "train" in seen:
        found += _missing(info, seen)
    for split, part in seen.items():
        if part.reach and part.reach.has_anchors and part.reach.boxes.sum():
            share = part.reach.reached[:, 0].sum() / part.reach.boxes.sum()
            if share < REACHED:
                found.append(
                    f"{split}: an anchor reaches {share:.1%} of the boxes at an IoU of {part.reach.thresholds[0]:g}: "
                    "see --anchor_scales, --aspect_ratios, --rpn_level"
                )
    return found


def _in_two_splits(seen: Mapping[str, Seen]) -> list[str]:
    found, splits = [], list(seen)
    for k, one in enumerate(splits):
        for other in splits[k + 1 :]:
            shared = len(seen[one].counts.digests.keys() & seen[other].counts.digests.keys())
            if shared:
                found.append(f"the same image files in {one} and in {other}: {shared:,}")
    return found


def _missing(info: DatasetInfo, seen: Mapping[str, Seen]) -> list[str]:
    found = []
    for kind, names in (("entity", info.vocabulary.entities), ("relation", info.vocabulary.relations)):
        counts = {split: classes(part, kind) for split, part in seen.items()}
        train = counts.pop("train")
        found += _sentence(f"{kind} {{classes}} with fewer than {FEW} in train", names, (train > 0) & (train < FEW))
        others = [(split, of_split) for split, of_split in counts.items() if of_split.any()]
        for split, of_split in others if train.any() else []:
            found += _sentence(f"{kind} {{classes}} of {split} not in train", names, (of_split > 0) & (train == 0))
            found += _sentence(f"{kind} {{classes}} of train not in {split}", names, (of_split == 0) & (train > 0))
        nowhere = (train == 0) & ~np.any([of_split > 0 for of_split in [*counts.values(), train]], axis=0)
        found += _sentence(f"{kind} {{classes}} in no split", names, nowhere)
    return found


def classes(part: Seen, kind: str) -> np.ndarray:
    """How often each class of a kind, "entity" or "relation", is in a split."""
    return part.counts.entities if kind == "entity" else part.counts.relations


def _sentence(what: str, names: Sequence[str], chosen: np.ndarray) -> list[str]:
    those = [names[k] for k in np.flatnonzero(chosen).tolist()]
    if not those:
        return []
    more = f" and {len(those) - NAMED:,} more" if len(those) > NAMED else ""
    what = what.format(classes="class" if len(those) == 1 else "classes")
    return [f"{len(those):,} {what}: {', '.join(those[:NAMED])}{more}"]
