"""Splits that follow from the files, so that no two of them can have an image in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from dsg_tf.data.problems import PreparationError

NAMES = ("train", "val", "test")
Item = TypeVar("Item")


def check_name(split: str) -> None:
    """Raises a `PreparationError` for a split that is none of `NAMES`."""
    if split not in NAMES:
        raise PreparationError(f"--split={split}: this format has the splits {', '.join(NAMES)}")


def by_last_digit(image_id: int) -> str:
    """The split of an image of a release without splits: `test` for ids that end in 0, `val` in 1, else `train`."""
    return {0: "test", 1: "val"}.get(image_id % 10, "train")


def held_out(
    path: str, split: str, images: Sequence[Item], in_test: Sequence[bool], related: Sequence[bool], val_images: int
) -> list[Item]:
    """The images of a split of a file that tells only which ones are for the test.

    Args:
      path: the file, for messages.
      split: `test`; `val`, which are the first of the others; `train`, the rest.
      images: of the file, in its order.
      in_test: whether each of them is for the test.
      related: whether each of them has a relation; an image without goes with those around it.
      val_images: how many images with relations are `val`.

    Raises:
      PreparationError: there is no such split, or no image with a relation in it.
    """
    check_name(split)
    counts = dict.fromkeys(NAMES, 0)
    chosen = []
    for image, is_test, has_relation in zip(images, in_test, related):
        of = "test" if is_test else "val" if counts["val"] < val_images else "train"
        counts[of] += has_relation
        if of == split:
            chosen.append(image)
    if not counts[split]:
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise PreparationError(
            f"{path} has no image with relations for split {split}, of which it has {found}; val are the first "
            f"{val_images} that are not test"
        )
    return chosen
