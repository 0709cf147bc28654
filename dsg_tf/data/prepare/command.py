"""Prepares a data set for training: `python -m dsg_tf.data.prepare --format=... --split=...`.

Reads images and annotations, checks them, and writes TFRecord shards and `dataset_info.json` to --output_dir. Run it
once per split. It works on all cores, goes on where a killed run ended, and ends with a list of what was wrong with the
data and what became of it. With --runner, the same work is done past one machine, on Apache Beam.

  --format=referring_relationships   Visual Genome, VRD, CLEVR as published with "Referring
      Relationships": --annotations --image_metadata --objects --predicates --images
  --format=visual_genome  Visual Genome's own release: --annotations --image_metadata --objects
      --images [--object_aliases --relation_aliases --num_entities --num_relations]
  --format=vg150          Visual Genome's 150 classes in HDF5: --annotations --image_metadata
      --objects --images
  --format=gqa            scene graphs of GQA: --annotations --images [--vocabulary_from
      --num_entities --num_relations]
  --format=open_images    relationships of Open Images: --annotations --objects --predicates --images
  --format=psg            panoptic scene graphs: --annotations --images
  --format=coco           COCO's instances, relations from their boxes: --annotations --images
  --format=clevr_scenes   CLEVR scene files with a "bbox" per object: --annotations --images
  --format=synthetic      rendered on the spot: --num_images [--seed]
"""

from __future__ import annotations

import dataclasses
import json
import sys

from absl import app, flags

from dsg_tf.data.prepare.formats import FORMATS
from dsg_tf.data.problems import Problems
from dsg_tf.process import beam, command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command; not at import, so that other programs can import this."""

    def integer(name, text, lower_bound=None):
        flags.DEFINE_integer(name, None, text, lower_bound=lower_bound, flag_values=values)

    def string(name, text, required=False):
        flags.DEFINE_string(name, None, text, required=required, flag_values=values)

    def switch(name, text):
        flags.DEFINE_bool(name, False, text, flag_values=values)

    flags.DEFINE_enum("format", None, list(FORMATS), "form of the data", required=True, flag_values=values)
    string("split", "name of the split: train, val, test", required=True)
    string("output_dir", "where the prepared data set is or will be")
    string(
        "annotations",
        "the relations: annotations_<split>.json, relationships.json, VG-SGG-with-attri.h5, <split>_sceneGraphs.json, "
        "<split>-annotations-vrd.csv, psg.json, instances_<set>.json or a CLEVR scene file",
    )
    string("image_metadata", "sizes of the images: <split>_image_metadata.json, or Visual Genome's image_data.json")
    string("objects", "entity classes: objects.json, VG150's dictionary, or Open Images' class descriptions")
    string("predicates", "relation classes: predicates.json, or Open Images' relationship triplets")
    string(
        "images", "folder of the image files, or of VG_100K/ and VG_100K_2/, or of train2017/ and val2017/ with them"
    )
    string("object_aliases", "other forms of names of entities: object_alias.txt")
    string("relation_aliases", "other forms of names of relations: relationship_alias.txt")
    string("vocabulary_from", "scene graphs whose names are counted; by default --annotations. Give val those of train")
    integer("num_entities", "entity classes, the most frequent ones; by default 100", lower_bound=1)
    integer("num_relations", "relation classes, the most frequent ones; by default 70", lower_bound=1)
    integer("first_image", "skip the images before this one", lower_bound=0)
    integer("max_images", "take only so many images", lower_bound=1)
    integer("num_images", "how many images to render", lower_bound=1)
    integer("seed", "of the rendered images; by default the split's own", lower_bound=0)
    integer("processes", "how many work at once; by default all cores", lower_bound=1)
    integer("num_shards", "files; by default one per 250 images", lower_bound=1)
    switch("strict", "stop at the first problem with the data")
    switch("overwrite", "replace what --output_dir has of this split")
    beam.define_flags(values)
    switch(
        "check",
        "read everything, write nothing, print the counts as JSON; without --images, the images are not looked at",
    )


def run() -> None:
    """The command `python -m dsg_tf.data.prepare`, installed as `dsg-prepare`."""
    command.run("prepare", define_flags, lambda: prepare(FLAGS), usage=__doc__, stoppable=False)


def prepare(values: flags.FlagValues) -> None:
    """Does what the flags say.

    Raises:
      UsageError: a flag is missing, or one is given that would have no effect; --runner without Beam.
      PreparationError: the data cannot be prepared.
    """
    _check_flags(values)
    runner = beam.from_flags(values)
    form = FORMATS[values.format]
    given = {name: values[name].value for name in (*form.needed, *form.optional)}
    reader = form.read(values.split, **given)
    from dsg_tf.data.prepare.shards import check, write_split

    if values.check:
        print(json.dumps(dataclasses.asdict(check(reader, values.strict)), indent=1))
        return
    info = write_split(
        reader,
        values.split,
        values.output_dir,
        processes=values.processes,
        num_shards=values.num_shards,
        strict=values.strict,
        overwrite=values.overwrite,
        beam=runner,
    )
    print(_summary(values.split, values.output_dir, info), file=sys.stderr)


def _check_flags(values: flags.FlagValues) -> None:
    """Every needed flag is there, and none that the format would ignore."""
    needed, optional = FORMATS[values.format].needed, FORMATS[values.format].optional
    if values.check:
        optional += tuple(name for name in needed if name == "images")
        needed = tuple(name for name in needed if name != "images")
    elif values.output_dir is None:
        raise app.UsageError("--output_dir is needed (or --check, to write nothing)")
    if values.runner and values.processes:
        raise app.UsageError(f"--processes={values.processes} has no effect with --runner={values.runner}")
    missing = [f"--{name}" for name in needed if values[name].value is None]
    if missing:
        raise app.UsageError(f"--format={values.format} needs {', '.join(missing)}")
    all_inputs = {name for form in FORMATS.values() for name in (*form.needed, *form.optional)}
    ignored = sorted(f"--{name}" for name in all_inputs.difference(needed, optional) if values[name].value is not None)
    if ignored:
        raise app.UsageError(f"--format={values.format} has no use for {', '.join(ignored)}")


def _summary(split: str, output_dir: str, info) -> str:
    annotated = info.annotated
    lines = [
        f"{split} in {output_dir}: {info.num_images} images of {annotated['images']}, "
        f"{info.num_relations} relationships of {annotated['relations']}, {info.num_boxes} boxes, "
        f"{info.num_queries} queries, {info.num_shards} shards"
    ]
    return "\n".join(lines + ([str(Problems(found=info.problems))] if info.problems else []))
