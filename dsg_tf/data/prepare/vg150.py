"""Reads VG150, the part of Visual Genome with 150 entity and 50 relation classes (Xu et al., CVPR 2017).

The files are those of the scene graph benchmarks (https://github.com/KaihuaTang/Scene-Graph-Benchmark.pytorch):
`VG-SGG-with-attri.h5` or `VG-SGG.h5`, its dictionary `VG-SGG-dicts-with-attri.json` or `VG-SGG-dicts.json`, and Visual
Genome's `image_data.json`. The first holds, for B boxes and R relations of I images,

- `split` [I]: 0 for training, 1 for validation, 2 for test;
- `img_to_first_box`, `img_to_last_box`, `img_to_first_rel`, `img_to_last_rel` [I]: the rows of each image, the last
  one included, -1 where it has none;
- `boxes_1024` [B, 4]: center x, center y, width, height, where the long side of the image has 1024 units; the centers
  are x0 + floor(width / 2) and y0 + floor(height / 2);
- `labels` [B, 1], `predicates` [R, 1]: classes from 1, as in `idx_to_label` and `idx_to_predicate` of the dictionary;
- `relationships` [R, 2]: rows of the subject's and of the object's box.

Images are those of `image_data.json` in its order, without four that are corrupt. The published file has no validation
images; then `val` are, as in the benchmarks, the first 5,000 images with relations that are not in `test`.
"""

from __future__ import annotations

import dataclasses
import io
from typing import NamedTuple

import numpy as np

from dsg_tf.data.image_files import index_images
from dsg_tf.data.input_files import read_bytes
from dsg_tf.data.json_files import check_fields, read_json
from dsg_tf.data.prepare.checks import Box, corners_of, is_id, vocabulary_of
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.prepare.splits import NAMES, check_name, held_out
from dsg_tf.data.problems import PreparationError, Problems

VAL_IMAGES = 5000
LONG_SIDE = 1024
_CORRUPT = (1592, 1722, 4616, 4617)
_OF_IMAGES = ("split", "img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel")
_COLUMNS = {"boxes_1024": 4, "labels": 1, "relationships": 2, "predicates": 1}


class _Graph(NamedTuple):
    """What the file has of one image; None in place of a part whose rows are not there."""

    first_box: int
    boxes: np.ndarray | None  # [M, 4] as in the file
    labels: np.ndarray | None  # [M]
    relations: np.ndarray | None  # [T, 3], (subject box, class, object box) as in the file


@dataclasses.dataclass(frozen=True)
class Vg150(SceneGraphs):
    """Images of one split in file order; `content` of a row is a `_Graph`. All boxes of an image are in its scene."""

    @classmethod
    def from_files(
        cls,
        split: str,
        annotations: str,
        image_metadata: str,
        objects: str,
        images: str | None,
        val_images: int = VAL_IMAGES,
    ) -> Vg150:
        """Reads the files and lists the image folder, if there is one.

        Args:
          split: `train`, `val` or `test`.
          annotations: the HDF5 file.
          image_metadata: `image_data.json`.
          objects: the dictionary.
          images: folder of `VG_100K/` and `VG_100K_2/`, or of the images.
          val_images: how many images are `val` where the file has none.

        Raises:
          PreparationError: a file is missing or not of the format, the folder is missing, or there is no such split.
        """
        check_name(split)
        dictionary, dictionary_print = read_json(objects, dict)
        names = [_names(objects, dictionary, name) for name in ("idx_to_label", "idx_to_predicate")]
        arrays, annotations_print = _arrays(annotations)
        metadata, metadata_print = _metadata(image_metadata, len(arrays["split"]), annotations)
        paths = index_images(images)
        return cls(
            vocabulary=vocabulary_of(objects, *names),
            source={
                "format": "vg150",
                "annotations": annotations_print,
                "image_metadata": metadata_print,
                "objects": dictionary_print,
                "images": images,
            },
            rows=[
                AnnotatedImage(name, _graph(arrays, number), paths.get(name), metadata[number])
                for number in _of_split(annotations, split, arrays, val_images)
                for name in [f"{metadata[number]['image_id']}.jpg"]
            ],
            with_images=images is not None,
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list | None:
        if row.content.boxes is None or row.content.relations is None:
            problems.add("malformed_annotation", f"{row.image_id}: names rows that the file does not have")
            return None
        return row.content.relations.tolist()

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        first, entities = row.content.first_box, len(self.vocabulary.entities)
        boxes: list[int | None] = []
        for number, (corners, label) in enumerate(zip(row.content.boxes.tolist(), row.content.labels.tolist())):
            where = f"{row.image_id}, box {first + number}"
            if is_id(label - 1, entities):
                boxes.append(graph.box(where, pixels(corners, graph.size), label - 1))
            else:
                graph.problems.add("unknown_entity", f"{where}: {label}, known are 1 to {entities}")
                boxes.append(None)
        for position, (subject, label, object_) in enumerate(relations):
            where = f"{row.image_id}, relation {position}"
            if not is_id(label - 1, len(self.vocabulary.relations)):
                graph.problems.add("unknown_relation", f"{where}: {label}")
            elif not (is_id(subject - first, len(boxes)) and is_id(object_ - first, len(boxes))):
                graph.problems.add(
                    "malformed_annotation",
                    f"{where}: boxes {subject} and {object_} of {first} to {first + len(boxes) - 1}",
                )
            else:
                ends = boxes[subject - first], boxes[object_ - first]
                if ends[0] is not None and ends[1] is not None:
                    graph.relate(where, ends[0], label - 1, ends[1])


def pixels(corners: list[float], size: tuple[int, int] | None) -> Box:
    """A box of the file as `[y0, x0, y1, x1]` in pixels of an image of (height, width) `size`.

    The file's boxes are rounded to whole units; what that adds beyond the image is cut off here. Without a size, the
    box stays in the units of the file.
    """
    center_x, center_y, width, height = corners
    box = corners_of(center_x - width // 2, center_y - height // 2, width, height)
    if size is None:
        return box
    unit = max(size) / LONG_SIDE
    y0, x0, y1, x1 = (side * unit for side in box)
    return y0, x0, _cut(y1, size[0], unit), _cut(x1, size[1], unit)


def _cut(end: float, limit: int, unit: float) -> float:
    return limit if limit < end <= limit + unit else end


def _names(path: str, dictionary: dict, name: str) -> list[str]:
    """The names of a dictionary {"1": name, "2": name, ...} in order."""
    check_fields(path, dictionary, {name: dict})
    words = dictionary[name]
    keys = [str(number) for number in range(1, len(words) + 1)]
    if set(keys) != set(words):
        raise PreparationError(f'{path}: the keys of "{name}" must be 1 to {len(words)}')
    return [str(words[key]) for key in keys]


def _arrays(path: str) -> tuple[dict[str, np.ndarray], str]:
    """The data sets of the file, with one dimension where they have one column, and the file's print."""
    import h5py  # Comes with TensorFlow; only this format needs it.

    content, file_print = read_bytes(path)
    arrays = {}
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            for name in (*_OF_IMAGES, *_COLUMNS):
                if name not in file:
                    raise PreparationError(f'{path} has no data set "{name}"')
                arrays[name] = np.asarray(file[name])
    except OSError as error:
        raise PreparationError(f"{path} is not a whole HDF5 file: {error}") from error
    for name, array in arrays.items():
        columns = _COLUMNS.get(name, 1)
        if not np.issubdtype(array.dtype, np.integer) or array.shape not in ((len(array), columns), (len(array),)):
            raise PreparationError(
                f'{path}: "{name}" must hold {columns} integers a row, it is {array.dtype} {array.shape}'
            )
        arrays[name] = array.reshape(len(array), columns) if columns > 1 else array.reshape(-1)
    for first, *others in (_OF_IMAGES, ("boxes_1024", "labels"), ("relationships", "predicates")):
        for other in others:
            if len(arrays[other]) != len(arrays[first]):
                raise PreparationError(
                    f'{path}: "{first}" has {len(arrays[first])} rows, "{other}" has {len(arrays[other])}'
                )
    return arrays, file_print


def _metadata(path: str, count: int, annotations: str) -> tuple[list[dict], str]:
    """The images of `image_data.json` that `count` rows of the annotations are of, in order, and the file's print."""
    listed, file_print = read_json(path, list)
    for position, image in enumerate(listed):
        check_fields(f"{path}: image {position}", image, {"image_id": int})
    kept = [image for image in listed if image["image_id"] not in _CORRUPT]
    if len(kept) != count:
        raise PreparationError(
            f"{annotations} is of {count} images, {path} has {len(kept)} (and {len(listed) - len(kept)} corrupt ones): "
            "they do not belong together"
        )
    return kept, file_print


def _of_split(path: str, split: str, arrays: dict[str, np.ndarray], val_images: int) -> list[int]:
    of = arrays["split"]
    if (of == NAMES.index("val")).any():
        return np.flatnonzero(of == NAMES.index(split)).tolist()
    in_test = (of == NAMES.index("test")).tolist()
    related = (arrays["img_to_first_rel"] >= 0).tolist()
    return held_out(path, split, range(len(of)), in_test, related, val_images)


def _graph(arrays: dict[str, np.ndarray], number: int) -> _Graph:
    first_box, last_box, first_rel, last_rel = (int(arrays[name][number]) for name in _OF_IMAGES[1:])
    relations = np.concatenate(
        [
            arrays["relationships"][max(first_rel, 0) : last_rel + 1],
            arrays["predicates"][max(first_rel, 0) : last_rel + 1, None],
        ],
        axis=1,
    )
    has_boxes = _are_rows(first_box, last_box, len(arrays["labels"]))
    return _Graph(
        first_box,
        arrays["boxes_1024"][max(first_box, 0) : last_box + 1] if has_boxes else None,
        arrays["labels"][max(first_box, 0) : last_box + 1] if has_boxes else None,
        relations[:, [0, 2, 1]] if _are_rows(first_rel, last_rel, len(arrays["predicates"])) else None,
    )


def _are_rows(first: int, last: int, count: int) -> bool:
    """Whether the rows from `first` to `last`, included, are there; -1 and -1 are none."""
    return (first, last) == (-1, -1) or 0 <= first <= last < count
