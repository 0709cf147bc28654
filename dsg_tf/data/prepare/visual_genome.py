"""Reads Visual Genome as it is released (Krishna et al., IJCV 2017), versions 1.2 and 1.4.

The format is that of https://homes.cs.washington.edu/~ranjay/visualgenome/api_readme.html: `relationships.json` is
`[{"image_id", "relationships": [{"predicate", "subject": object, "object": object}, ...]}, ...]`, `objects.json` is
`[{"image_id", "objects": [object, ...]}, ...]`, where an object is `{"object_id", "x", "y", "w", "h", "names": [name,
...]}`, in relationships also with one `"name"`, and in version 1.4 with `"merged_object_ids"`, which are other ids of
the same. x and y are its top left corner, in pixels. `image_data.json` is `[{"image_id", "width", "height"}, ...]`. The
image is `<image_id>.jpg`. `object_alias.txt` and `relationship_alias.txt` have one name a line, followed by its other
forms.

The vocabulary are the most frequent names of the whole release, the same for all splits. Of several names of an object
the first one counts. The release has no splits; here, images whose id ends in 0 are `test`, in 1 `val`, the others
`train`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import NamedTuple

from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import check_fields, read_json
from dsg_tf.data.prepare.checks import no_name_twice
from dsg_tf.data.prepare.named_graphs import (
    NUM_ENTITIES,
    NUM_RELATIONS,
    NamedGraph,
    NamedGraphs,
    NamedObject,
    NamedRelation,
    frequent_vocabulary,
    name_of,
    read_aliases,
)
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage
from dsg_tf.data.prepare.splits import by_last_digit, check_name
from dsg_tf.data.problems import PreparationError


@dataclasses.dataclass(frozen=True)
class VisualGenome(NamedGraphs):
    """Images of one split in the order of `relationships.json`."""

    @classmethod
    def from_files(
        cls,
        split: str,
        annotations: str,
        image_metadata: str,
        objects: str,
        images: str | None,
        object_aliases: str | None = None,
        relation_aliases: str | None = None,
        num_entities: int = NUM_ENTITIES,
        num_relations: int = NUM_RELATIONS,
    ) -> VisualGenome:
        """Reads the release and lists the image folder, if there is one.

        Args:
          split: `train`, `val` or `test`.
          annotations: `relationships.json`.
          image_metadata: `image_data.json`.
          objects: `objects.json`.
          images: folder of `VG_100K/` and `VG_100K_2/`, or of the images.
          object_aliases, relation_aliases: files of other forms of names.
          num_entities, num_relations: how many classes.

        Raises:
          PreparationError: a file is missing or not of the format, the folder is missing, or there is no such split.
        """
        check_name(split)
        aliases, aliases_print = read_aliases(object_aliases)
        verbs, verbs_print = read_aliases(relation_aliases)
        sizes, metadata_print = _by_image(image_metadata, {"image_id": int})
        things, objects_print = _by_image(objects, {"image_id": int, "objects": list}, aliases)
        annotated, annotations_print = _by_image(annotations, {"image_id": int, "relationships": list}, aliases)
        graphs = {
            image_id: _graph(things.pop(image_id, {"objects": []})["objects"], image["relationships"], verbs)
            for image_id, image in annotated.items()
        }
        rows = [image_id for image_id in graphs if by_last_digit(image_id) == split]
        if not rows:
            raise PreparationError(f"{annotations} has no image of split {split}")
        paths = index_images(images)
        return cls(
            vocabulary=frequent_vocabulary(annotations, graphs.values(), num_entities, num_relations),
            source={
                "format": "visual_genome",
                "annotations": annotations_print,
                "image_metadata": metadata_print,
                "objects": objects_print,
                "images": images,
                "object_aliases": aliases_print,
                "relation_aliases": verbs_print,
                "num_entities": num_entities,
                "num_relations": num_relations,
            },
            rows=[
                AnnotatedImage(f"{image_id}.jpg", graphs[image_id], paths.get(f"{image_id}.jpg"), sizes.get(image_id))
                for image_id in rows
            ],
            with_images=images is not None,
        )


class _Object(NamedTuple):
    """An object of the files, without what is not needed: the files have 8 million."""

    key: object
    other_keys: tuple
    named: NamedObject


def _by_image(path: str, fields: dict[str, type], aliases: dict[str, str] | None = None) -> tuple[dict[int, dict], str]:
    """A file with one entry an image, as {image id: entry}, and its print; objects in it are `_Object`s."""

    def compact(row: dict) -> object:
        return row if "object_id" not in row else _object(row, aliases or {})

    entries, file_print = read_json(path, list, hook=compact)
    for position, entry in enumerate(entries):
        check_fields(f"{path}: image {position}", entry, fields)
    no_name_twice(path, [f"image {entry['image_id']}" for entry in entries])
    return {entry["image_id"]: entry for entry in entries}, file_print


def _object(row: dict, aliases: dict[str, str]) -> _Object:
    names, merged = row.get("names"), row.get("merged_object_ids")
    name = name_of(names[0] if isinstance(names, list) and names else row.get("name"))
    return _Object(
        row["object_id"],
        tuple(merged) if isinstance(merged, list) else (),
        NamedObject(sys.intern(aliases.get(name, name)), [row.get(side) for side in ("x", "y", "w", "h")]),
    )


def _graph(objects: list, relationships: list, aliases: dict[str, str]) -> NamedGraph:
    """One image; an object that only a relationship has is one as well."""
    things: dict = {}
    keys: dict = {}
    for position, thing in enumerate(objects):
        if _add(thing, things, keys) is None:
            things[f"number {position}"] = NamedObject("", [])  # Told as one without a name.
    relations = []
    for relationship in relationships:
        fields = relationship if isinstance(relationship, dict) else {}
        name = name_of(fields.get("predicate"))
        subject, object_ = (_add(fields.get(end), things, keys) for end in ("subject", "object"))
        relations.append(NamedRelation(subject, sys.intern(aliases.get(name, name)), object_))
    return NamedGraph(things, relations)


def _add(thing: object, things: dict, keys: dict) -> object:
    """Adds an object where none with one of its keys is there; returns the key of the one that is."""
    if not isinstance(thing, _Object) or not isinstance(thing.key, int):
        return None
    key = keys.setdefault(thing.key, thing.key)
    for other in thing.other_keys:
        if isinstance(other, int):
            keys.setdefault(other, key)
    things.setdefault(key, thing.named)
    return key
