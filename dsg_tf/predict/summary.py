"""What became of the images and queries: numbers, and errors by kind with the first offenders."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

KINDS = {
    "missing_image": "the image file is not there or cannot be opened",
    "bad_image": "the model cannot read the image",
    "bad_query": "the query is not understood: the message names the part, and what is near to it",
}
ERRORS_FILE = "errors.jsonl"
_NAMED = 5


@dataclasses.dataclass
class Counts:
    """Adds up over lines; an image is answered if the model saw it, whatever became of its queries."""

    num_answered_images: int = 0
    num_queries: int = 0
    num_answered_queries: int = 0
    errors: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        answers = line.get("answers", [])
        self.num_answered_images += "answers" in line
        self.num_queries += len(answers)
        self.num_answered_queries += sum("error" not in answer for answer in answers)
        for kind, what in errors_of(line):
            entry = self.errors.setdefault(kind, {"count": 0, "first": []})
            entry["count"] += 1
            entry["first"] = (entry["first"] + [what])[:_NAMED]

    def as_dict(self) -> dict[str, Any]:
        """Queries about images that could not be read are not counted."""
        return dataclasses.asdict(self)


def errors_of(line: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, a sentence that names the image and the query) for all that is wrong with an image and its queries."""
    for row in error_rows(line):
        query = f", query {row['query']!r}" if "query" in row else ""
        yield row["kind"], f"{row['image']}{query}: {row['message']}"


def error_rows(line: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The lines of `errors.jsonl` for an image: `image`, `query` if it is the query's fault, `kind`, `message`."""
    if "error" in line:
        yield {"image": line["image"], **line["error"]}
    for answer in line.get("answers", []):
        if "error" in answer:
            yield {"image": line["image"], "query": answer["query"], **answer["error"]}


def text(summary: dict[str, Any], output_dir: str) -> str:
    """The content of `predictions.json` for people."""
    run, errors = summary["last_run"], summary["errors"]
    rate = f", {run['images_per_second']:.1f} images/s" if run["images"] else ""
    return "\n".join(
        [
            f"{output_dir}: {summary['num_answered_images']} of {summary['num_images']} images, "
            f"{summary['num_answered_queries']} of their {summary['num_queries']} queries answered in "
            f"{summary['num_shards']} files, {summary['bytes'] / 2**20:.1f} MiB{rate}",
            *error_lines(errors),
            *([f"all that has no answer: {os.path.join(output_dir, ERRORS_FILE)}"] if errors else []),
        ]
    )


def error_lines(errors: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for kind, entry in errors.items():
        lines.append(f"{kind} {entry['count']}: {KINDS[kind]}")
        lines += [f"    {what}" for what in entry["first"]]
        if entry["count"] > len(entry["first"]):
            lines.append("    ...")
    return lines
