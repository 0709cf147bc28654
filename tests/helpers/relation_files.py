"""Writes small data sets of relations in the forms in which they are published, for the tests of their readers.

Each function writes its files and pictures of 40 x 30 pixels under a folder, and returns the arguments of the reader's
`from_files` by name. What a data set holds can be changed by `change`, which gets its content before it is written.
"""

import csv
import json
import os

import numpy as np
from dataset_files import write_image


def _nothing(*_):
    pass


def _write(folder, name, content):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        if name.endswith(".json"):
            json.dump(content, file)
        elif name.endswith(".csv"):
            csv.writer(file, lineterminator="\n").writerows(content)
        else:
            file.write(content)
    return path


def _write_images(folder, names):
    for seed, name in enumerate(names):
        write_image(os.path.join(folder, name), seed)
    return str(folder)


def vg_object(object_id, name, x, y, w, h, **more):
    """An object as `objects.json` has it."""
    synsets = [f"{name}.n.01"]
    return {"synsets": synsets, "h": h, "object_id": object_id, "names": [name], "w": w, "y": y, "x": x, **more}


def vg_end(object_id, name, x, y, w, h):
    """A subject or an object as `relationships.json` has most of them: with one name."""
    return {"name": name, "h": h, "synsets": [f"{name}.n.01"], "object_id": object_id, "w": w, "y": y, "x": x}


def vg_relationship(number, subject, predicate, object_):
    row = {"predicate": predicate, "object": object_, "relationship_id": number, "synsets": ["along.r.01"]}
    return {**row, "subject": subject}


# One of `test`, one of `val`, two of `train`.
VG_IDS = (10, 11, 12, 2407892)


def write_visual_genome(folder, change=_nothing, aliases=()):
    """A man with a hat and a shirt on a street in each image; in those of `train` also a rare dog.

    Args:
      folder: where to.
      change: gets {image id: objects} and {image id: relationships}.
      aliases: which of `object_aliases` and `relation_aliases` to write.
    """
    objects, relationships = {}, {}
    for image_id in VG_IDS:
        first = image_id * 10
        objects[image_id] = [
            vg_object(first, "man", 2, 3, 10, 20, merged_object_ids=[first + 7]),
            vg_object(first + 1, "Hat", 4, 3, 5, 4, merged_object_ids=[]),
            vg_object(first + 2, "street", 0, 20, 40, 10, merged_object_ids=[]),
        ]
        relationships[image_id] = [
            vg_relationship(1, vg_end(first, "man", 2, 3, 10, 20), "WEARS", vg_end(first + 1, "hat", 4, 3, 5, 4)),
            # Other ids of the same man, and of a shirt that only this relationship has.
            vg_relationship(
                2, vg_end(first + 7, "a man", 2, 4, 9, 19), "wears", vg_end(first + 3, "shirt", 3, 8, 7, 9)
            ),
            vg_relationship(3, vg_end(first, "man", 2, 3, 10, 20), "on", vg_object(first + 2, "street", 0, 20, 40, 10)),
        ]
        if image_id % 10 > 1:
            objects[image_id].append(vg_object(first + 4, "dog", 20, 20, 6, 6, merged_object_ids=[]))
            end = vg_end(first + 4, "dog", 20, 20, 6, 6)
            relationships[image_id].append(vg_relationship(4, end, "near", vg_end(first, "man", 2, 3, 10, 20)))
    change(objects, relationships)
    metadata = [
        {"image_id": i, "url": f"https://cs.stanford.edu/people/rak248/VG_100K/{i}.jpg", "width": 40, "height": 30}
        | {"coco_id": None, "flickr_id": None}
        for i in VG_IDS
    ]
    _write_images(os.path.join(folder, "VG_100K"), ["10.jpg", "11.jpg"])
    _write_images(os.path.join(folder, "VG_100K_2"), [f"{i}.jpg" for i in VG_IDS[2:]])
    texts = {"object_aliases": "man,a man,guy\nhat,hats\n", "relation_aliases": "on,standing on,on the\n"}
    return {
        "annotations": _write(
            folder,
            "relationships.json",
            [{"relationships": rows, "image_id": image_id} for image_id, rows in relationships.items()],
        ),
        "objects": _write(
            folder,
            "objects.json",
            [{"image_id": image_id, "objects": rows, "image_url": "https://"} for image_id, rows in objects.items()],
        ),
        "image_metadata": _write(folder, "image_data.json", metadata),
        "images": str(folder),
        **{name: _write(folder, f"{name}.txt", texts[name]) for name in aliases},
    }


def write_vg150(folder, change=_nothing):
    """Six images: three for training, of which the second has no relation, one without a box, and two for the test.

    Args:
      folder: where to.
      change: gets the arrays of the HDF5 file by name.
    """
    import h5py

    arrays = {
        "split": [0, 0, 0, 0, 2, 2],
        "img_to_first_box": [0, 2, -1, 4, 6, 8],
        "img_to_last_box": [1, 3, -1, 5, 7, 9],
        "img_to_first_rel": [0, -1, -1, 1, 3, 4],
        "img_to_last_rel": [0, -1, -1, 2, 3, 4],
        # Of 40 x 30 pixels a unit is 40 / 1024 = 0.0390625; odd sizes round the center down.
        "boxes_1024": [[256, 384, 512, 256], [512, 512, 257, 129]] * 5,
        "labels": [[1], [3]] * 5,
        "relationships": [[0, 1], [4, 5], [5, 4], [6, 7], [8, 9]],
        "predicates": [[2], [1], [2], [1], [1]],
        "active_object_mask": [[True]] * 10,
    }
    arrays = {name: np.array(rows, bool if name == "active_object_mask" else np.int32) for name, rows in arrays.items()}
    change(arrays)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "VG-SGG-with-attri.h5")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    labels, predicates = ["airplane", "animal", "arm"], ["above", "across"]
    dictionary = {
        "label_to_idx": {name: number for number, name in enumerate(labels, 1)},
        "idx_to_label": {str(number): name for number, name in enumerate(labels, 1)},
        "predicate_to_idx": {name: number for number, name in enumerate(predicates, 1)},
        "idx_to_predicate": {str(number): name for number, name in enumerate(predicates, 1)},
        "predicate_count": dict.fromkeys(predicates, 3),
        "object_count": dict.fromkeys(labels, 5),
    }
    # 1592 is one of the four corrupt images that the HDF5 file leaves out.
    ids = [1, 2, 1592, 3, 4, 5, 6]
    metadata = [{"image_id": i, "width": 40, "height": 30, "url": "https://", "coco_id": None} for i in ids]
    return {
        "annotations": path,
        "image_metadata": _write(folder, "image_data.json", metadata),
        "objects": _write(folder, "VG-SGG-dicts-with-attri.json", dictionary),
        "images": _write_images(os.path.join(folder, "VG_100K"), [f"{i}.jpg" for i in ids]),
    }


def write_gqa(folder, name="train", change=_nothing):
    """Two images, of which the second has no relation of its own objects.

    Args:
      folder: where to.
      name: `train` or `val`; in `val` another class is the most frequent one.
      change: gets {image id: scene graph}.
    """

    def thing(name, x, y, w, h, *relations):
        relations = [{"object": object_, "name": relation} for relation, object_ in relations]
        return {"name": name, "h": h, "relations": relations, "w": w, "attributes": ["small"], "y": y, "x": x}

    left, right = "to the left of", "to the right of"
    scenes = {
        "2407890": {
            "width": 40,
            "objects": {
                "271881": thing("chair", 20, 10, 8, 12, (right, "275312"), ("near", "275312")),
                "275312": thing("table", 2, 5, 10, 20, (left, "271881")),
                "279472": thing("lamp", 30, 2, 5, 5, ("on", "275312")),
                "279473": thing("chair", 1, 1, 3, 3),
            },
            "weather": "none",
            "height": 30,
        },
        "n161313": {"width": 40, "height": 30, "location": "street", "objects": {"7": thing("chair", 1, 2, 3, 4)}},
    }
    if name == "val":
        scenes = {"5": scenes["2407890"]}
        scenes["5"]["objects"] |= {str(i): thing("lamp", 2, 2, 5, 5, ("on", "275312")) for i in range(4)}
    change(scenes)
    return {
        "annotations": _write(folder, f"{name}_sceneGraphs.json", scenes),
        "images": _write_images(os.path.join(folder, "images"), [f"{image_id}.jpg" for image_id in scenes]),
    }


OPEN_IMAGES_HEADER = [
    *("ImageID", "LabelName1", "LabelName2", "XMin1", "XMax1", "YMin1", "YMax1", "XMin2", "XMax2", "YMin2", "YMax2"),
    "RelationshipLabel",
]


def write_open_images(folder, change=_nothing):
    """Two images: a man who plays a guitar and is at a table; a table that is wooden.

    Args:
      folder: where to.
      change: gets the rows of the relationships, the header first.
    """
    man, guitar, table, wooden = "/m/04bcr3", "/m/0342h", "/m/04bcr4", "/m/083vt"
    rows = [
        list(OPEN_IMAGES_HEADER),
        ["000ac95750ac7399", man, guitar, 0.1, 0.6, 0.2, 0.9, 0.25, 0.5, 0.3, 0.7, "plays"],
        ["000ac95750ac7399", man, table, 0.1, 0.6, 0.2, 0.9, 0.0, 1.0, 0.5, 1.0, "interacts_with"],
        ["000ac95750ac7399", table, wooden, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0, 0.5, 1.0, "is"],
        ["0029f71ff2ca64df", table, wooden, 0.0, 1.0, 0.5, 1.0, 0.0, 1.0, 0.5, 1.0, "is"],
    ]
    change(rows)
    triplets = [
        ["LabelName1", "LabelName2", "RelationshipLabel"],
        [table, wooden, "is"],
        [man, table, "interacts_with"],
        [man, guitar, "plays"],
    ]
    names = [["/m/011k07", "Tortoise"], [guitar, "Guitar"], [table, "Table"], [man, "Man"]]
    return {
        "annotations": _write(folder, "oidv6-train-annotations-vrd.csv", rows),
        "objects": _write(folder, "class-descriptions-boxable.csv", names),
        "predicates": _write(folder, "oidv6-relationship-triplets.csv", triplets),
        "images": _write_images(os.path.join(folder, "train"), ["000ac95750ac7399.jpg", "0029f71ff2ca64df.jpg"]),
    }


def write_psg(folder, change=_nothing):
    """Five images: one for the test, one without a relation, one that was annotated twice.

    Args:
      folder: where to.
      change: gets the content of the file.
    """

    def image(image_id, name, relations):
        segments = [(0, [2.0, 3.0, 12.0, 23.0]), (1, [10.0, 5.0, 20.0, 15.0]), (2, [0.0, 20.0, 40.0, 30.0])]
        return {
            "file_name": name,
            "height": 30,
            "width": 40,
            "image_id": image_id,
            "pan_seg_file_name": f"panoptic_{name}".replace(".jpg", ".png"),
            "segments_info": [
                {"id": 100 + i, "category_id": i, "iscrowd": 0, "isthing": int(i < 2), "area": 50} for i, _ in segments
            ],
            "relations": relations,
            "annotations": [{"bbox": bbox, "bbox_mode": 0, "category_id": i} for i, bbox in segments],
            "coco_image_id": int(image_id),
        }

    content = {
        "data": [
            image("107902", "train2017/000000107902.jpg", []),
            image("107903", "train2017/000000107903.jpg", [[0, 1, 1], [0, 2, 0]]),
            image("107904", "val2017/000000107904.jpg", [[1, 2, 0]]),
            image("107905", "train2017/000000107905.jpg", [[0, 2, 0]]),
            image("107906", "train2017/000000107905.jpg", [[1, 0, 1]]),
        ],
        "thing_classes": ["person", "dog"],
        "stuff_classes": ["grass"],
        "predicate_classes": ["standing on", "playing with"],
        "test_image_ids": ["107904"],
    }
    change(content)
    names = dict.fromkeys(entry["file_name"] for entry in content["data"] if isinstance(entry, dict))
    return {
        "annotations": _write(folder, "psg.json", content),
        "images": _write_images(os.path.join(folder, "coco"), names),
    }


def write_coco(folder, change=_nothing):
    """Three images of 120 x 90 pixels: two boxes that count among others that do not, a crowd, and none.

    Args:
      folder: where to.
      change: gets the content of the file.
    """

    def annotation(number, image_id, category_id, bbox, iscrowd=0):
        area, outline = bbox[2] * bbox[3], [[bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1], bbox[0], bbox[1] + bbox[3]]]
        row = {"segmentation": outline, "area": area, "iscrowd": iscrowd, "image_id": image_id, "bbox": bbox}
        return {**row, "category_id": category_id, "id": number}

    names = [f"{image_id:012d}.jpg" for image_id in (139, 285, 632)]
    content = {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"license": 2, "file_name": name, "coco_url": "http://", "height": 90, "width": 120, "id": image_id}
            for name, image_id in zip(names, (139, 285, 632))
        ],
        "annotations": [
            annotation(1, 139, 90, [60.5, 10.0, 40.0, 32.0]),
            annotation(2, 285, 1, [0.0, 0.0, 100.0, 80.0], iscrowd=1),
            annotation(3, 139, 1, [10.0, 20.0, 32.0, 60.0]),
            annotation(4, 139, 1, [10.0, 20.0, 31.9, 60.0]),
            annotation(5, 285, 90, [10.0, 20.0, 40.0, 60.0]),
        ],
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
        ],
    }
    change(content)
    images = os.path.join(folder, "val2017")
    for seed, name in enumerate(names):
        write_image(os.path.join(images, name), seed, size=(120, 90))
    return {"annotations": _write(folder, "instances_val2017.json", content), "images": images}
