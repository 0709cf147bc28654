"""What to download for a data set, where to put it and how to prepare it."""

from __future__ import annotations

import dataclasses
import os

_PUBLISHED = "https://cs.stanford.edu/people/ranjaykrishna/referringrelationships"


@dataclasses.dataclass(frozen=True)
class _Source:
    """`{raw}` in the texts is the folder that the download goes to.

    Attributes:
      download: what to get, and from where.
      layout: what the folder then holds.
      commands: the flags of `dsg_tf.data.prepare`, one command per split.
    """

    download: str
    layout: str
    commands: tuple[str, ...]


def missing_data_message(dataset: str, data_dir: str) -> str:
    """One sentence on what to download and where to put it, then the commands that prepare it.

    Args:
      dataset: "vg", "vrd", "clevr", "clevr_small" or "vrd_small".
      data_dir: where the prepared data set is expected.

    Raises:
      ValueError: there is no such data set; names those there are.
    """
    if dataset not in _SOURCES:
        raise ValueError(f"unknown data set {dataset!r}, there are {', '.join(_SOURCES)}")
    source = _SOURCES[dataset]
    raw = os.path.join(data_dir, "raw")
    commands = "\n".join(
        f"  python -m dsg_tf.data.prepare {flags.format(raw=raw)} --output_dir={data_dir}" for flags in source.commands
    )
    return (
        f"{data_dir} has no prepared data: {source.download}, so that {raw} holds {source.layout}, then run\n{commands}"
    )


def _published(first_val_images: int, train_images: str, test_images: str) -> tuple[str, ...]:
    """Commands for train and test annotations; the first training images become `val`."""
    parts = {
        "train": ("train", train_images, f" --first_image={first_val_images}"),
        "val": ("train", train_images, f" --max_images={first_val_images}"),
        "test": ("test", test_images, ""),
    }
    return tuple(_referring_relationships(split, file, images) + part for split, (file, images, part) in parts.items())


def _referring_relationships(split: str, file: str, images: str) -> str:
    return (
        f"--format=referring_relationships --split={split} "
        f"--annotations={{raw}}/annotations_{file}.json "
        f"--image_metadata={{raw}}/{file}_image_metadata.json "
        f"--objects={{raw}}/objects.json --predicates={{raw}}/predicates.json --images={images}"
    )


_SOURCES = {
    "vg": _Source(
        download=(
            "download the Visual Genome images, parts 1 and 2 (15 GB), from "
            "https://visualgenome.org and the annotations of Krishna et al. 2018 as published with "
            f"their code ReferringRelationships by StanfordVL, {_PUBLISHED}/visualgenome.zip"
        ),
        layout="VG_100K/, VG_100K_2/ and the JSON files of the annotations",
        commands=_published(5000, "{raw}", "{raw}"),
    ),
    "vrd": _Source(
        download=(
            "download the VRD images (sg_dataset.zip, 2 GB) from "
            "https://cs.stanford.edu/people/ranjaykrishna/vrd and the annotations of Krishna et "
            "al. 2018 as published with their code ReferringRelationships by StanfordVL, "
            f"{_PUBLISHED}/vrd.zip"
        ),
        layout="sg_train_images/, sg_test_images/ and the JSON files of the annotations",
        commands=_published(400, "{raw}/sg_train_images", "{raw}/sg_test_images"),
    ),
    "clevr": _Source(
        download=(
            "download CLEVR v1.0 (18 GB) from https://cs.stanford.edu/people/jcjohns/clevr and, "
            "because its own scene files carry no boxes, the annotations of Krishna et al. 2018 as "
            "published with their code ReferringRelationships by StanfordVL, "
            f"{_PUBLISHED}/clevr.zip"
        ),
        layout="CLEVR_v1.0/ and the JSON files of the annotations",
        commands=_published(5000, "{raw}/CLEVR_v1.0/images/train", "{raw}/CLEVR_v1.0/images/val"),
    ),
    "clevr_small": _Source(
        download=(
            "render images with the CLEVR generator "
            "(https://github.com/facebookresearch/clevr-dataset-gen) and add to every object of "
            'its scene files "bbox": [x0, y0, x1, y1], the extent of its visible pixels, which the '
            "official files do not have"
        ),
        layout="images/, CLEVR_train_scenes.json and CLEVR_val_scenes.json",
        commands=tuple(
            f"--format=clevr_scenes --split={split} "
            f"--annotations={{raw}}/CLEVR_{split}_scenes.json --images={{raw}}/images"
            for split in ("train", "val")
        ),
    ),
    "vrd_small": _Source(
        download=(
            "take any part of the VRD images (https://cs.stanford.edu/people/ranjaykrishna/vrd) "
            "with its annotations in the form published with the code ReferringRelationships by "
            f"StanfordVL, {_PUBLISHED}/vrd.zip, boxes scaled along if you scale the images"
        ),
        layout=(
            "images/, objects.json, predicates.json, annotations_{train,val}.json and {train,val}_image_metadata.json"
        ),
        commands=tuple(_referring_relationships(split, split, "{raw}/images") for split in ("train", "val")),
    ),
}
