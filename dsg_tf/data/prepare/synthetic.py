"""Renders splits of the synthetic set: what `train.py --dataset=synthetic` does first."""

from __future__ import annotations

from dsg_tf.data.prepare.shards import write_split
from dsg_tf.data.records import SplitInfo
from dsg_tf.data.synthetic.reader import SyntheticScenes, seed_of_split


def prepare_synthetic(output_dir: str, split: str, num_images: int, seed: int | None = None, **options) -> SplitInfo:
    """Renders a split of the synthetic set, or finds that it is there already.

    Args:
      output_dir: of the data set.
      split: name of the split.
      num_images: how many to render.
      seed: None for the one that belongs to the split.
      **options: of `write_split`.
    """
    reader = SyntheticScenes(seed_of_split(split, seed), 0, num_images)
    return write_split(reader, split, output_dir, **options)
