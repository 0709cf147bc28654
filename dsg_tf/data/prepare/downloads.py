"""Says what to download for a data set, where to put it and how to prepare it."""

from __future__ import annotations

import os

from dsg_tf.data.prepare.sources import SOURCES


def missing_data_message(dataset: str, data_dir: str) -> str:
    """One sentence on what to download and where to put it, then the commands that prepare it.

    Args:
      dataset: one of `SOURCES`.
      data_dir: where the prepared data set is expected.

    Raises:
      ValueError: there is no such data set; names those there are.
    """
    if dataset not in SOURCES:
        raise ValueError(f"unknown data set {dataset!r}, there are {', '.join(SOURCES)}")
    source, raw = SOURCES[dataset], os.path.join(data_dir, "raw")
    commands = "\n".join(f"  {command}" for command in commands_of(dataset, data_dir))
    return (
        f"{data_dir} has no prepared data: {source.download}, so that {raw} holds {source.layout}, then run\n{commands}"
    )


def commands_of(dataset: str, data_dir: str) -> list[str]:
    """The commands that prepare a data set from what was downloaded to `raw/` in `data_dir`, one per split."""
    raw = os.path.join(data_dir, "raw")
    return [
        f"python -m dsg_tf.data.prepare {flags.format(raw=raw)} --output_dir={data_dir}"
        for flags in SOURCES[dataset].commands
    ]
