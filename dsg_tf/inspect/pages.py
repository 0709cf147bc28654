"""The page about a data set: what was counted, as tables with bars, and samples."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from dsg_tf.config import Config
from dsg_tf.data import integrity
from dsg_tf.data.problems import KINDS
from dsg_tf.data.records import DatasetInfo, SplitInfo
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import page
from dsg_tf.inspect import counts as count_lib
from dsg_tf.inspect.anchors import Reach
from dsg_tf.inspect.reading import Seen, read
from dsg_tf.inspect.remarks import classes, remarks

SIZES_SHOWN = 8


def write(
    data_dir: str, path: str, config: Config | None = None, *, samples: int = 12, splits: Sequence[str] = ()
) -> list[str]:
    """Reads a prepared data set and writes its page.

    Args:
      data_dir: the prepared data set.
      path: of the page.
      config: settings, for what becomes of its boxes in the network's input; None: nothing about it.
      samples: images shown of each split.
      splits: those to look at; none: all.

    Returns:
      The sentences that the page begins with, see `remarks`.

    Raises:
      BrokenShardError: a file is missing or broken.
      ValueError: there is no such split.
    """
    info = DatasetInfo.load(data_dir)
    chosen = list(splits) or sorted(info.splits, key=lambda name: (name != "train", name != "val", name))
    for split in chosen:
        info.shard_paths(data_dir, split)
    integrity.check_shards(info, data_dir)
    seen = {split: read(data_dir, info, split, config, samples) for split in chosen}
    found = remarks(info, seen)
    page.write(path, document(data_dir, info, seen, found, config))
    return found


def document(
    data_dir: str, info: DatasetInfo, seen: Mapping[str, Seen], found: Sequence[str], config: Config | None
) -> page.Html:
    """The page of a data set, from what was read of its splits."""
    infos = {split: info.splits[split] for split in seen}
    sections = [
        page.Section("Worth a look", [page.bullets(found) if found else "Nothing stands out."]),
        page.Section("Splits", [_totals(seen)]),
        page.Section("Queries", [_queries(seen), page.beside(*_per_image(seen))]),
        page.Section("Classes", [_of_classes(info.vocabulary, seen)]),
        page.Section("Sizes", _sizes(seen)),
    ]
    if config:
        sections.append(page.Section("In the network's input", _network(seen, config)))
    sections.append(page.Section("Left out, and how it was made", _left_out(infos)))
    sections += [page.Section(f"Samples of {split}", _samples(part)) for split, part in seen.items() if part.samples]
    introduction = page.text("Prepared data set ", page.code(data_dir))
    return page.page(f"Data set {data_dir}", introduction, sections)


def _totals(seen: Mapping[str, Seen]) -> page.Html:
    rows = [
        [split, c.num_images, c.num_boxes, c.num_relation_rows, c.num_queries]
        for split, c in ((split, part.counts) for split, part in seen.items())
    ]
    return page.table("What the splits hold", ["split", "images", "boxes", "relations", "queries"], rows)


def _samples(part: Seen) -> list[page.Content]:
    return [
        "Boxes have their number and class; arrows go from subject to object. Relations at equal distances through "
        "those of the image.",
        page.pictures(part.samples),
    ]


def _of_classes(vocabulary: Vocabulary, seen: Mapping[str, Seen]) -> page.Html:
    return page.beside(
        _classes("Boxes", "entity", vocabulary.entities, seen),
        _classes("Relations", "relation", vocabulary.relations, seen),
    )


def _classes(what: str, kind: str, names: Sequence[str], seen: Mapping[str, Seen]) -> page.Html:
    of_split = {split: classes(part, kind).tolist() for split, part in seen.items()}
    rows = [(name, [numbers[k] for numbers in of_split.values()]) for k, name in enumerate(names)]
    rows.sort(key=lambda row: [-n for n in row[1]])
    return page.columns(f"{what} of each class, most frequent first", [kind, *seen], rows)


def _queries(seen: Mapping[str, Seen]) -> page.Html:
    columns = []
    for c in (part.counts for part in seen.values()):
        numbers = [c.ambiguous_queries]
        numbers += [kind[role] for role in ROLES for kind in (c.ambiguous, c.decided)]
        shares = [number / c.num_queries if c.num_queries else None for number in numbers]
        bars = [
            page.Bar(f"{number:,}" + ("" if share is None else f" ({share:.1%})"), share)
            for number, share in zip(numbers, shares)
        ]
        columns.append([c.num_queries, *bars])
    names = ["all", "ambiguous in some role"]
    names += [name for role in ROLES for name in (f"{role} ambiguous", f"of these, some of the {role}s answer")]
    return page.join(
        [
            "A query is ambiguous in a role if several boxes of the image are of its class. Where only some of these "
            "boxes answer, the class alone does not tell which: the relation has to.",
            page.table("Queries whose class several boxes have", ["queries", *seen], list(zip(names, *columns))),
        ]
    )


def _per_image(seen: Mapping[str, Seen]) -> list[page.Html]:
    names = count_lib.whole_range_names(count_lib.PER_IMAGE)

    def of(what: str) -> page.Html:
        return _ranges(f"Images by their {what}", f"{what} of an image", names, seen, lambda c: c.per_image[what])

    return [of(what) for what in ("relations", "queries", "boxes")]


def _sizes(seen: Mapping[str, Seen]) -> list[page.Html]:
    sides = count_lib.range_names(count_lib.SIDES, " px")
    shapes = count_lib.range_names(count_lib.SHAPES)
    boxes = page.beside(
        _ranges("Boxes by the root of their area, pixels of the image", "size", sides, seen, lambda c: c.sides),
        _ranges("Boxes by width / height", "width / height", shapes, seen, lambda c: c.shapes),
    )
    images = [_image_sizes(split, part.counts) for split, part in seen.items() if part.counts.num_images]
    return [boxes, page.beside(*images)]


def _image_sizes(split: str, c: count_lib.SplitCounts) -> page.Html:
    sides = []
    for axis in (1, 0):
        of_side: collections.Counter[int] = collections.Counter()
        for size, count in c.image_sizes.items():
            of_side[size[axis]] += count
        sides.append(f"{min(of_side)} to {max(of_side)}, median {count_lib.median(of_side)}")
    common = c.image_sizes.most_common(SIZES_SHOWN)
    rows = [(f"{width} × {height}", count) for (height, width), count in common]
    others = len(c.image_sizes) - len(common)
    if others:
        rows.append((f"{others:,} other sizes", c.num_images - sum(count for _, count in common)))
    return page.join(
        [
            page.counts(f"Sizes of the images of {split}", "width × height", rows),
            f"Widths {sides[0]}; heights {sides[1]}.",
        ]
    )


def _ranges(caption, head, names, seen: Mapping[str, Seen], read_counts) -> page.Html:
    """Counts by range, without the last ranges that no split has."""
    numbers = [read_counts(part.counts).tolist() for part in seen.values()]
    last = max((k for of_split in numbers for k, number in enumerate(of_split) if number), default=0)
    rows = [(name, [of_split[k] for of_split in numbers]) for k, name in enumerate(names[: last + 1])]
    return page.columns(caption, [head, *seen], rows)


def _network(seen: Mapping[str, Seen], config: Config) -> list[page.Content]:
    height, width = config.image_size
    strides = ", ".join(str(2**level) for level in config.rpn_levels)
    parts: list[page.Content] = [f"Input of {width} × {height} pixels (width × height), boxes scaled with their image."]
    if config.is_attention_model:
        parts.append(page.text(page.code(f"--model={config.model}"), " attends to cells: it has no anchors."))
    elif config.backbone == "nanodet_plus":
        about = f" has no fixed anchors: it proposes a box at every point, at strides {strides}."
        parts.append(page.text(page.code("--backbone=nanodet_plus"), about))
    else:
        scales, ratios = (", ".join(f"{v:g}" for v in of) for of in (config.anchor_scales, config.aspect_ratios))
        about = (
            f"Anchors at stride {strides}: sides of {scales} strides, width / height {ratios}. A box is reached "
            "where some anchor has at least this IoU with it. In training, anchors are positive from "
        )
        positive = page.code(f"--rpn_positive_iou={config.rpn_positive_iou:g}")
        parts.append(page.text(about, positive, " on, and the nearest one of each box."))
    return [*parts, page.beside(*(_reach(split, part.reach) for split, part in seen.items() if part.reach))]


def _reach(split: str, reach: Reach) -> page.Html:
    boxes = reach.boxes.tolist()
    longest, last = max(boxes) or 1, max((k for k, number in enumerate(boxes) if number), default=0)
    names = count_lib.range_names(count_lib.SIDES, " px")[: last + 1]
    rows: list[page.Row] = []
    for name, count, reached in [
        *zip(names, boxes, reach.reached.tolist()),
        ("all", sum(boxes), reach.reached.sum(axis=0).tolist()),
    ]:
        shares = [n / count if count else None for n in reached] if reach.has_anchors else []
        bars = [page.Bar("–" if share is None else f"{share:.1%}", share) for share in shares]
        rows.append([name, page.Bar(f"{count:,}", count / longest if name != "all" else None), *bars])
    heads = ["root of the area", "boxes"]
    heads += [f"reached at IoU {threshold:g}" for threshold in reach.thresholds] if reach.has_anchors else []
    return page.table(f"Boxes of {split} in the network's input", heads, rows)


def _left_out(infos: Mapping[str, SplitInfo]) -> list[page.Content]:
    parts: list[page.Content] = []
    for split, info in infos.items():
        parts.append(page.heading(split))
        images, relations = (info.annotated.get(name, 0) for name in ("images", "relations"))
        parts.append(
            f"Written: {info.num_images:,} of {images:,} annotated images, {info.num_relations:,} of {relations:,} "
            f"annotated relations."
        )
        if info.problems:
            rows = [
                [kind, entry["count"], KINDS.get(kind, ""), page.bullets(entry["first"])]
                for kind, entry in info.problems.items()
            ]
            parts.append(
                page.table(f"What was wrong in {split}", ["kind", "number", "what it means", "the first"], rows)
            )
        else:
            parts.append("Nothing was wrong with the annotations.")
        source = [[name, str(value)] for name, value in info.source.items() if value is not None]
        parts.append(
            page.details("What it was made of", page.table(f"Source of {split}", ["argument", "value"], source))
        )
    return parts
