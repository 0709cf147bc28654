"""Writes small data sets as they would be downloaded, for the tests of the readers."""

import contextlib
import json
import os

import numpy as np
from PIL import Image

OBJECTS = ["person", "dog", "hat"]
PREDICATES = ["on", "next to"]
SIZE = {"width": 40, "height": 30}


def write_image(path, seed=0, size=(40, 30)):
    """A picture of noise, (width, height) `size`."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(noise).save(path)


@contextlib.contextmanager
def changed(path, change):
    """Within the block, the file holds what `change` makes of its text."""
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(change(whole))
    try:
        yield
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(whole)


def box(category, ymin=2, ymax=12, xmin=3, xmax=13):
    return {"category": category, "bbox": [ymin, ymax, xmin, xmax]}


def relationship(subject, predicate, obj):
    return {"subject": subject, "predicate": predicate, "object": obj}


def write_referring_relationships(folder, annotations, metadata=None, images=None):
    """Writes the four JSON files and the images.

    Args:
      folder: where to.
      annotations: {image name: relationships}.
      metadata: {image name: size}; every image 40 x 30 if None.
      images: the names of the image files to write; all of them if None.

    Returns:
      The arguments of `ReferringRelationships.from_files`.
    """
    os.makedirs(folder, exist_ok=True)
    metadata = dict.fromkeys(annotations, SIZE) if metadata is None else metadata
    for seed, name in enumerate(annotations if images is None else images):
        write_image(os.path.join(folder, "images", name), seed)
    contents = {"annotations": annotations, "image_metadata": metadata, "objects": OBJECTS, "predicates": PREDICATES}
    arguments = {name: os.path.join(folder, f"{name}.json") for name in contents}
    for name, content in contents.items():
        with open(arguments[name], "w", encoding="utf-8") as file:
            json.dump(content, file)
    return {**arguments, "images": os.path.join(folder, "images")}


def good_annotations(count):
    """`count` images with two relationships each, every one different."""
    return {
        f"{i:03d}.png": [
            relationship(box(0, ymax=5 + i % 20), 0, box(1)),
            relationship(box(1), 1, box(2, xmax=6 + i % 30)),
        ]
        for i in range(count)
    }
