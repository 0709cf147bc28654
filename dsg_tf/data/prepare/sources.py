"""The data sets that people have: where they are, and the flags that prepare them."""

from __future__ import annotations

import dataclasses

_PUBLISHED = "https://cs.stanford.edu/people/ranjaykrishna/referringrelationships"
_VISUAL_GENOME = "https://homes.cs.washington.edu/~ranjay/visualgenome"


@dataclasses.dataclass(frozen=True)
class Source:
    """`{raw}` in the texts is the folder that the download goes to.

    Attributes:
      download: what to get, and from where.
      layout: what the folder then holds.
      commands: the flags of `dsg_tf.data.prepare`, one command per split.
    """

    download: str
    layout: str
    commands: tuple[str, ...]


_SPLITS = ("train", "val", "test")


def _first_are_val(count: int, test: str, test_flags: str = "") -> tuple[tuple[str, str, str], ...]:
    """The split, its file and its last flags where the first training images become `val`; `test` is the test file."""
    return (
        ("train", "train", f" --first_image={count}"),
        ("val", "train", f" --max_images={count}"),
        ("test", test, test_flags),
    )


def _published(first_val_images: int, train_images: str, test_images: str) -> tuple[str, ...]:
    """Commands for train and test annotations."""
    images = {"train": train_images, "test": test_images}
    return tuple(
        _referring_relationships(split, file, images[file]) + part
        for split, file, part in _first_are_val(first_val_images, test="test")
    )


def _referring_relationships(split: str, file: str, images: str) -> str:
    return (
        f"--format=referring_relationships --split={split} "
        f"--annotations={{raw}}/annotations_{file}.json "
        f"--image_metadata={{raw}}/{file}_image_metadata.json "
        f"--objects={{raw}}/objects.json --predicates={{raw}}/predicates.json --images={images}"
    )


SOURCES = {
    "vg": Source(
        download=(
            "download the Visual Genome images, parts 1 and 2 (15 GB), from "
            "https://visualgenome.org and the annotations of Krishna et al. 2018 as published with "
            f"their code ReferringRelationships by StanfordVL, {_PUBLISHED}/visualgenome.zip"
        ),
        layout="VG_100K/, VG_100K_2/ and the JSON files of the annotations",
        commands=_published(5000, "{raw}", "{raw}"),
    ),
    "vrd": Source(
        download=(
            "download the VRD images (sg_dataset.zip, 2 GB) from "
            "https://cs.stanford.edu/people/ranjaykrishna/vrd and the annotations of Krishna et "
            "al. 2018 as published with their code ReferringRelationships by StanfordVL, "
            f"{_PUBLISHED}/vrd.zip"
        ),
        layout="sg_train_images/, sg_test_images/ and the JSON files of the annotations",
        commands=_published(400, "{raw}/sg_train_images", "{raw}/sg_test_images"),
    ),
    "vg_release": Source(
        download=(
            "download the Visual Genome images, parts 1 and 2 (15 GB), and objects, relationships, image meta data "
            f"and the aliases of objects and relationships of version 1.4 from {_VISUAL_GENOME}"
        ),
        layout=(
            "VG_100K/, VG_100K_2/, objects.json, relationships.json, image_data.json, object_alias.txt and "
            "relationship_alias.txt"
        ),
        commands=tuple(
            f"--format=visual_genome --split={split} --annotations={{raw}}/relationships.json "
            "--objects={raw}/objects.json --image_metadata={raw}/image_data.json --images={raw} "
            "--object_aliases={raw}/object_alias.txt --relation_aliases={raw}/relationship_alias.txt"
            for split in _SPLITS
        ),
    ),
    "vg150": Source(
        download=(
            f"download the Visual Genome images, parts 1 and 2 (15 GB), and image meta data from {_VISUAL_GENOME}, and "
            "the scene graphs VG-SGG-with-attri.h5 and VG-SGG-dicts-with-attri.json as "
            "https://github.com/KaihuaTang/Scene-Graph-Benchmark.pytorch says in DATASET.md"
        ),
        layout="VG_100K/, VG_100K_2/, image_data.json, VG-SGG-with-attri.h5 and VG-SGG-dicts-with-attri.json",
        commands=tuple(
            f"--format=vg150 --split={split} --annotations={{raw}}/VG-SGG-with-attri.h5 "
            "--objects={raw}/VG-SGG-dicts-with-attri.json --image_metadata={raw}/image_data.json --images={raw}"
            for split in _SPLITS
        ),
    ),
    "gqa": Source(
        download=(
            "download the scene graphs (43 MB) and the images (20 GB) of GQA from "
            "https://cs.stanford.edu/people/dorarad/gqa/download.html"
        ),
        layout="images/, train_sceneGraphs.json and val_sceneGraphs.json",
        commands=tuple(
            f"--format=gqa --split={split} --annotations={{raw}}/{file}_sceneGraphs.json --images={{raw}}/images{part}"
            for split, file, part in _first_are_val(
                5000, test="val", test_flags=" --vocabulary_from={raw}/train_sceneGraphs.json"
            )
        ),
    ),
    "open_images": Source(
        download=(
            "download of Open Images V6 the relationships (oidv6-*-annotations-vrd.csv), the relationship triplets and "
            "the class names (class-descriptions-boxable.csv) from "
            "https://storage.googleapis.com/openimages/web/download_v6.html and, with the downloader that is named "
            "there, the images whose ids the relationships have"
        ),
        layout=(
            "train/, validation/, test/ with the images, oidv6-{train,validation,test}-annotations-vrd.csv, "
            "oidv6-relationship-triplets.csv and class-descriptions-boxable.csv"
        ),
        commands=tuple(
            f"--format=open_images --split={split} --annotations={{raw}}/oidv6-{file}-annotations-vrd.csv "
            "--objects={raw}/class-descriptions-boxable.csv --predicates={raw}/oidv6-relationship-triplets.csv "
            f"--images={{raw}}/{file}"
            for split, file in (("train", "train"), ("val", "validation"), ("test", "test"))
        ),
    ),
    "psg": Source(
        download=(
            "download COCO's images of 2017, train and val (19 GB), from https://cocodataset.org/#download and "
            "psg.json as https://github.com/Jingkang50/OpenPSG says"
        ),
        layout="train2017/, val2017/ and psg.json",
        commands=tuple(
            f"--format=psg --split={split} --annotations={{raw}}/psg.json --images={{raw}}" for split in _SPLITS
        ),
    ),
    "coco": Source(
        download=(
            "download COCO's images of 2017, train and val (19 GB), and their annotations (241 MB) from "
            "https://cocodataset.org/#download"
        ),
        layout="train2017/, val2017/, instances_train2017.json and instances_val2017.json",
        commands=tuple(
            f"--format=coco --split={split} --annotations={{raw}}/instances_{file}2017.json "
            f"--images={{raw}}/{file}2017{part}"
            for split, file, part in _first_are_val(5000, test="val")
        ),
    ),
    "clevr": Source(
        download=(
            "download CLEVR v1.0 (18 GB) from https://cs.stanford.edu/people/jcjohns/clevr and, "
            "because its own scene files carry no boxes, the annotations of Krishna et al. 2018 as "
            "published with their code ReferringRelationships by StanfordVL, "
            f"{_PUBLISHED}/clevr.zip"
        ),
        layout="CLEVR_v1.0/ and the JSON files of the annotations",
        commands=_published(5000, "{raw}/CLEVR_v1.0/images/train", "{raw}/CLEVR_v1.0/images/val"),
    ),
    "clevr_small": Source(
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
    "coco_photos": Source(
        download=(
            "download COCO's images of 2017, val (1 GB; the detector that this starts from was trained on the others), "
            "and the annotations (241 MB) from https://cocodataset.org/#download"
        ),
        layout="val2017/ and instances_val2017.json",
        commands=tuple(
            f"--format=coco --split={split} --annotations={{raw}}/instances_val2017.json --images={{raw}}/val2017{part}"
            for split, part in (("train", " --first_image=500"), ("val", " --max_images=500"))
        ),
    ),
    "vrd_small": Source(
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
