"""Writes one split as TFRecord shards, in parallel, so that a killed run can go on.

A shard is one unit of work. It is written under a temporary name, renamed, and then its counts are written beside it: a
shard that has its counts is whole and is not made again. When all are there, `dataset_info.json` gets the split and the
counts are removed. What a shard holds depends only on the input and the number of shards, not on what runs the work.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re

import tensorflow as tf

from dsg_tf.data.prepare.reader import Reader
from dsg_tf.data.prepare.tally import Tally
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.records import INFO_FILE, DatasetInfo, SplitInfo, scene_to_example, shard_name
from dsg_tf.data.scene import Vocabulary
from dsg_tf.process import files, workers
from dsg_tf.process.beam import Beam


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A piece of work: `path` is that of the counts, which are there when the shard is."""

    path: str
    part: Reader
    source: dict[str, object]
    strict: bool

    @property
    def records_path(self) -> str:
        return os.path.splitext(self.path)[0] + ".tfrecord"

    def __len__(self) -> int:
        return len(self.part)


def write_split(
    reader: Reader,
    split: str,
    output_dir: str,
    *,
    processes: int | None = None,
    num_shards: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    beam: Beam | None = None,
) -> SplitInfo:
    """Writes the scenes of a reader as the split of a data set; goes on where a killed run ended.

    Args:
      reader: of `formats.FORMATS`.
      split: name of the split.
      output_dir: where the data set is, other splits included.
      processes: how many work; all cores if None. With more than one, the main module must be importable
        (`if __name__ == "__main__":`).
      num_shards: files; one per 250 images if None.
      strict: raise on the first problem with the data.
      overwrite: remove what `output_dir` has of this split first.
      beam: what runs the work in place of processes of this machine.

    Returns:
      What was written, as `dataset_info.json` has it. If it was there already, as it is.

    Raises:
      PreparationError: nothing survives, or a problem and `strict`, or what is in `output_dir` was made of something
        else.
      ValueError: another process prepares this split there.
    """
    if not re.fullmatch(r"\w+", split):
        raise PreparationError(f"a split is named by letters, digits and _, not {split!r}")
    if not len(reader):
        raise PreparationError(f"there is no image in the source of {split}: {reader.source}")
    num_shards = num_shards or -(-len(reader) // workers.IMAGES_PER_SHARD)
    if num_shards > len(reader):
        raise PreparationError(f"{num_shards} shards are too many for {len(reader)} images")
    source = {**reader.source, "num_shards": num_shards}

    # A finished split is found on a disk that nobody may write to.
    finished = None if overwrite else _finished(output_dir, split, reader.vocabulary, source, strict)
    if finished:
        return finished
    with files.held(output_dir, f"{split}.{files.LOCK}"):
        if overwrite:
            _remove_split(output_dir, split)
        # Asked again: another process may have finished it meanwhile.
        finished = _finished(output_dir, split, reader.vocabulary, source, strict)
        if finished:
            return finished
        if split in _prepared_splits(output_dir, reader.vocabulary):
            _remove_split(output_dir, split)
        runner = beam or workers.Local(processes or workers.cores())
        return _write_split(reader, split, output_dir, source, strict, runner)


def _finished(output_dir: str, split: str, vocabulary: Vocabulary, source: dict, strict: bool) -> SplitInfo | None:
    """The split as `dataset_info.json` has it; None where it is not there, or lacks a shard.

    Raises:
      PreparationError: see `write_split`.
    """
    splits = _prepared_splits(output_dir, vocabulary)
    if split not in splits:
        return None
    _check_source(output_dir, split, splits[split].source, source)
    if not all(map(os.path.exists, _paths(output_dir, split, source["num_shards"]))):
        return None
    Problems(strict).merge(splits[split].problems)
    _remove_counts(output_dir, split)
    return splits[split]


def _write_split(
    reader: Reader, split: str, output_dir: str, source: dict, strict: bool, runner: Beam | workers.Local
) -> SplitInfo:
    num_shards = source["num_shards"]
    shards = [
        _Shard(
            os.path.splitext(path)[0] + ".json",
            reader.part(*workers.images_of(i, num_shards, len(reader))),
            source,
            strict,
        )
        for i, path in enumerate(_paths(output_dir, split, num_shards))
    ]
    _remove_unfinished(output_dir, split, source)
    info = _write_shards(shards, split, runner)
    if not info.num_relations:
        problems = Problems(found=info.problems)
        _remove_split(output_dir, split)
        raise PreparationError(f"nothing of split {split} can be used:\n{problems}")
    # Read again: another split may have been finished meanwhile.
    splits = _prepared_splits(output_dir, reader.vocabulary)
    DatasetInfo(reader.vocabulary, {**splits, split: info}).save(output_dir)
    _remove_counts(output_dir, split)
    return info


def check(reader: Reader, strict: bool) -> SplitInfo:
    """Reads everything and writes nothing; returns the counts."""
    tally = Tally(Problems(strict))
    for _ in tally.scenes_of(reader):
        pass
    return split_info(tally, [], reader.source)


def _write_shards(shards: list[_Shard], split: str, runner: Beam | workers.Local) -> SplitInfo:
    """Writes the shards that are not there yet and adds up the counts of all."""
    to_do = [shard for shard in shards if not os.path.exists(shard.path)]
    what = split if len(to_do) == len(shards) else f"{split}, the rest"
    runner.run(_write_shard, to_do, what)

    tally, examples = Tally(Problems(shards[0].strict)), []
    for shard in shards:
        with open(shard.path, encoding="utf-8") as file:
            counts = json.load(file)["counts"]
        tally.merge(counts)
        examples.append(counts["totals"].get("num_images", 0))
    sizes = [os.path.getsize(shard.records_path) for shard in shards]
    return dataclasses.replace(split_info(tally, examples, shards[0].source), bytes_per_shard=sizes)


def split_info(tally: Tally, examples_per_shard: list[int], source: dict) -> SplitInfo:
    """The numbers of a tally as `dataset_info.json` has them."""
    return SplitInfo(
        num_images=tally.totals["num_images"],
        num_boxes=tally.totals["num_boxes"],
        num_relations=tally.totals["num_relations"],
        num_queries=tally.totals["num_queries"],
        num_shards=len(examples_per_shard),
        max_boxes=tally.largest["max_boxes"],
        max_relations=tally.largest["max_relations"],
        max_queries=tally.largest["max_queries"],
        max_height=tally.largest["max_height"],
        max_width=tally.largest["max_width"],
        examples_per_shard=examples_per_shard,
        annotated={name: tally.annotated[name] for name in ("images", "relations", "images_without_relation")},
        source=source,
        problems=tally.problems.in_order(),
    )


def _write_shard(shard: _Shard) -> None:
    tally = Tally(Problems(shard.strict))
    with files.atomic(shard.records_path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for scene in tally.scenes_of(shard.part):
            if scene is not None:
                writer.write(scene_to_example(scene).SerializeToString(deterministic=True))
            workers.count_image()
    files.write_json(shard.path, {"source": shard.source, "counts": tally.as_dict()})


def _paths(output_dir: str, split: str, num_shards: int) -> list[str]:
    return [os.path.join(output_dir, shard_name(split, i, num_shards)) for i in range(num_shards)]


def _prepared_splits(output_dir: str, vocabulary: Vocabulary) -> dict[str, SplitInfo]:
    """The finished splits in `output_dir`, which must have the same vocabulary."""
    path = os.path.join(output_dir, INFO_FILE)
    if not os.path.exists(path):
        return {}
    info = DatasetInfo.load(output_dir)
    for kind in ("entities", "relations"):
        there, here = getattr(info.vocabulary, kind), getattr(vocabulary, kind)
        if there != here:
            raise PreparationError(
                f"{path} has {len(there)} {kind} ({_differing(there, here)}), this source has "
                f"{len(here)} ({_differing(here, there)}): the splits of a data set must have the "
                "same vocabulary; choose another directory"
            )
    return info.splits


def _differing(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    at = next((i for i, pair in enumerate(zip(names, others)) if pair[0] != pair[1]), None)
    at = min(len(names), len(others)) if at is None else at
    return f"number {at} is {names[at]!r}" if at < len(names) else f"none is number {at}"


def _check_source(output_dir: str, split: str, there: dict, here: dict) -> None:
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    if keys:
        differences = "; ".join(f"{key} {there.get(key)!r}, now {here.get(key)!r}" for key in keys)
        raise PreparationError(
            f"{output_dir} has shards of split {split} made of something else: {differences}. "
            "Choose another directory, or prepare it again with --overwrite"
        )


def _remove_unfinished(output_dir: str, split: str, source: dict) -> None:
    """Removes what a killed run left of this split, except for whole shards of the same source."""
    whole = set()
    for counts_path in _counts_paths(output_dir, split):
        with open(counts_path, encoding="utf-8") as file:
            _check_source(output_dir, split, json.load(file)["source"], source)
        shard_path = os.path.splitext(counts_path)[0] + ".tfrecord"
        if os.path.exists(shard_path):
            whole |= {counts_path, shard_path}
    for path in glob.glob(_pattern(output_dir, split, "*")):
        if path not in whole:
            os.remove(path)


def _remove_counts(output_dir: str, split: str) -> None:
    for path in _counts_paths(output_dir, split):
        os.remove(path)


def _counts_paths(output_dir: str, split: str) -> list[str]:
    return glob.glob(_pattern(output_dir, split, "?????.json"))


def _remove_split(output_dir: str, split: str) -> None:
    """Removes a split, finished or not; first from `dataset_info.json`, so that it never lies."""
    info_path = os.path.join(output_dir, INFO_FILE)
    if os.path.exists(info_path):
        info = DatasetInfo.load(output_dir)
        others = {name: other for name, other in info.splits.items() if name != split}
        if others:
            dataclasses.replace(info, splits=others).save(output_dir)
        else:
            os.remove(info_path)
    for path in glob.glob(_pattern(output_dir, split, "*")):
        os.remove(path)


def _pattern(output_dir: str, split: str, end: str) -> str:
    return os.path.join(glob.escape(output_dir), f"{split}-*-of-{end}")
