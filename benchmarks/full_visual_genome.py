"""Hours, GiB and files that the whole of Visual Genome takes, from a smaller run; prints one JSON object.

    python benchmarks/full_visual_genome.py --saved_model=exported/vrd_small [--raw=data/vrd_small/raw] [--images=2000]

Prepares so many images, those at hand again and again, and answers all their queries with the exported model, which
must know their words. Then every number is scaled to 108,077 images, as if those had as many queries. Starting the
processes and the model is scaled along, so the hours are rather too many. Visual Genome's images are 15 GB: that is put
in place of the size of those at hand.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time

import machine
from absl import flags

from dsg_tf.data.prepare.clevr import ClevrScenes
from dsg_tf.data.prepare.referring_relationships import ReferringRelationships
from dsg_tf.process import command, workers

FLAGS = flags.FLAGS
VISUAL_GENOME_IMAGES, VISUAL_GENOME_BYTES = 108_077, 15e9
_GIB = 2**30


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "raw",
        "data/vrd_small/raw",
        "images and annotations as `prepare` takes them: the folder of vrd_small, or of clevr_small with "
        "--format=clevr_scenes",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "format",
        "referring_relationships",
        ["referring_relationships", "clevr_scenes"],
        "form of the annotations",
        flag_values=values,
    )
    flags.DEFINE_string("split", "val", "split to read, train or val", flag_values=values)
    flags.DEFINE_string(
        "saved_model", None, "exported model, or the directory of its versions", required=True, flag_values=values
    )
    flags.DEFINE_integer("images", 2000, "images to measure on", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("batch_size", 8, "images that the model sees at once", lower_bound=1, flag_values=values)
    flags.DEFINE_string(
        "scratch_dir",
        None,
        "where the files go until the end; by default the system's temporary folder",
        flag_values=values,
    )


def main() -> None:
    reader = _reader(FLAGS.format, FLAGS.raw, FLAGS.split)
    distinct = len(reader)
    repeated = dataclasses.replace(reader, rows=(reader.rows * -(-FLAGS.images // distinct))[: FLAGS.images])
    from dsg_tf.data.prepare.shards import write_split
    from dsg_tf.predict import requests
    from dsg_tf.predict.shards import predict

    with tempfile.TemporaryDirectory(dir=FLAGS.scratch_dir) as folder:
        data_dir, output_dir = os.path.join(folder, "data"), os.path.join(folder, "predicted")
        start = time.perf_counter()
        info = write_split(repeated, FLAGS.split, data_dir)
        prepared = _measured(len(repeated), time.perf_counter() - start, data_dir)
        # Strict, because queries that the model does not know would be no work for it.
        answered = predict(
            requests.PreparedSplit.load(data_dir, FLAGS.split),
            FLAGS.saved_model,
            output_dir,
            batch_size=FLAGS.batch_size,
            strict=True,
        )
        predicted = _measured(info.num_images, answered["last_run"]["seconds"], output_dir)
    image_bytes = sum(os.path.getsize(row.path) for row in repeated.rows if row.path is not None)
    print(
        json.dumps(
            {
                "full_visual_genome": _scaled(prepared, predicted, image_bytes / len(repeated)),
                "prepare": prepared,
                "predict": predicted,
                "images": info.num_images,
                "distinct_images": min(distinct, len(repeated)),
                "image_bytes": image_bytes,
                "queries": answered["num_answered_queries"],
                "data": FLAGS.raw,
                "model": answered["saved_model_path"],
                "batch_size": FLAGS.batch_size,
                "machine": machine.describe("tensorflow", "numpy", "Pillow"),
            },
            indent=2,
        )
    )


def _reader(form: str, raw: str, split: str) -> ClevrScenes | ReferringRelationships:
    path = lambda name: os.path.join(raw, name)
    if form == "clevr_scenes":
        return ClevrScenes.from_files(path(f"CLEVR_{split}_scenes.json"), path("images"))
    return ReferringRelationships.from_files(
        annotations=path(f"annotations_{split}.json"),
        image_metadata=path(f"{split}_image_metadata.json"),
        objects=path("objects.json"),
        predicates=path("predicates.json"),
        images=path("images"),
    )


def _measured(num_images: int, seconds: float, folder: str) -> dict[str, float]:
    sizes = [entry.stat().st_size for entry in os.scandir(folder)]
    return {
        "images": num_images,
        "images_per_second": round(num_images / seconds, 2),
        "seconds": round(seconds, 1),
        "bytes": sum(sizes),
        "files": len(sizes),
    }


def _scaled(prepared: dict, predicted: dict, bytes_per_image: float) -> dict[str, float]:
    hours = {
        f"{name}_hours": round(VISUAL_GENOME_IMAGES / measured["images"] * measured["seconds"] / 3600, 2)
        for name, measured in (("prepare", prepared), ("predict", predicted))
    }
    annotations = prepared["bytes"] / prepared["images"] - bytes_per_image
    shards_of_all = -(-VISUAL_GENOME_IMAGES // workers.IMAGES_PER_SHARD)
    return {
        "images": VISUAL_GENOME_IMAGES,
        **hours,
        "tfrecord_gib": round((VISUAL_GENOME_BYTES + VISUAL_GENOME_IMAGES * annotations) / _GIB, 2),
        "tfrecord_gib_with_images_as_measured": round(
            VISUAL_GENOME_IMAGES * prepared["bytes"] / prepared["images"] / _GIB, 2
        ),
        "predictions_gib": round(VISUAL_GENOME_IMAGES * predicted["bytes"] / predicted["images"] / _GIB, 2),
        # dataset_info.json; settings.json and predictions.json.
        "tfrecord_files": shards_of_all + 1,
        "prediction_files": shards_of_all + 2,
    }


if __name__ == "__main__":
    command.run("full_visual_genome", define_flags, main, stoppable=False)
