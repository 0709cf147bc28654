"""What an evaluation finds: the score of each query, their means, and the files they are kept in."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dsg_tf.process import files


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """One query's score and where it is: `image` counts the images of the split in file order.

    A role is ambiguous where several ground-truth boxes of the image are of its class: the class alone does not tell
    the answer. Systems that answer with maps have no `answer_probability`, nor had files of version 0.2 one.
    """

    image: int
    image_id: str
    query: int
    triplet: tuple[int, int, int]
    subject_iou: float
    object_iou: float
    subject_ambiguous: bool
    object_ambiguous: bool
    answer_probability: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All queries of a split.

    Attributes:
      queries: those that hold.
      num_images: of the split, or those that were evaluated.
      proposal_recall: None for systems without proposals.
      seconds_per_image: of the network.
      counts: by name.
      answer_probability: how well it tells these queries from those that do not hold, see `absent.report`; None where
        they were not asked.
      absent: `answer_probability` of those, by kind.
    """

    queries: list[QueryResult]
    num_images: int
    proposal_recall: float | None
    seconds_per_image: float
    counts: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    answer_probability: dict[str, Any] | None = None
    absent: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """What goes into `eval_<split>.json`.

        Means and standard errors over queries (NaN without queries), over all and over those where the role is
        ambiguous; counts; recall at IoU 0.5; time; and `answer_probability`.
        """
        scores: dict[str, float] = {}
        ambiguous: dict[str, float] = {}
        for role in ("subject", "object"):
            values = [getattr(q, f"{role}_iou") for q in self.queries]
            hard = [v for v, q in zip(values, self.queries) if getattr(q, f"{role}_ambiguous")]
            scores |= _named(f"{role}_iou", values)
            ambiguous |= _named(f"ambiguous_{role}_iou", hard) | {f"num_ambiguous_{role}": len(hard)}
        return {
            **scores,
            **ambiguous,
            "num_queries": len(self.queries),
            "num_images": self.num_images,
            "proposal_recall": self.proposal_recall,
            "answer_probability": self.answer_probability,
            "seconds_per_image": self.seconds_per_image,
        }


def mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean of independent values and its standard error; NaN of none, and the error of one."""
    array = np.array(values, np.float64)
    stderr = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else float("nan")
    return float(array.mean()) if len(array) else float("nan"), float(stderr)


def _named(name: str, values: Sequence[float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_stderr"), mean(values)))


def write_queries(queries: Iterable[QueryResult], path: str) -> None:
    """Writes one row per query, with the fields of `QueryResult`; class ids in place of the triplet."""
    with files.atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "image",
                "image_id",
                "query",
                "subject",
                "relation",
                "object",
                "subject_iou",
                "object_iou",
                "subject_ambiguous",
                "object_ambiguous",
                "answer_probability",
            ]
        )
        for q in queries:
            writer.writerow(
                [
                    q.image,
                    q.image_id,
                    q.query,
                    *q.triplet,
                    q.subject_iou,
                    q.object_iou,
                    int(q.subject_ambiguous),
                    int(q.object_ambiguous),
                    "" if q.answer_probability is None else q.answer_probability,
                ]
            )


def read_queries(path: str) -> list[QueryResult]:
    """Reads what `write_queries` wrote, also that of version 0.2, without `answer_probability`."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            QueryResult(
                int(row["image"]),
                row["image_id"],
                int(row["query"]),
                (int(row["subject"]), int(row["relation"]), int(row["object"])),
                float(row["subject_iou"]),
                float(row["object_iou"]),
                bool(int(row["subject_ambiguous"])),
                bool(int(row["object_ambiguous"])),
                float(row["answer_probability"]) if row.get("answer_probability") else None,
            )
            for row in csv.DictReader(file)
        ]


def table(summaries: list[dict]) -> str:
    """The results as text; AUROC is that of `answer_probability`."""
    lines = [
        f"{'split':8} {'subject IoU':>16} {'object IoU':>16} {'queries':>8} {'images':>7} {'recall@0.5':>10} "
        f"{'s/image':>8} {'AUROC':>6}"
    ]
    for s in summaries:
        cells = [f"{s[f'{role}_iou']:.4f} ± {s[f'{role}_iou_stderr']:.4f}" for role in ("subject", "object")]
        recall = "none" if s["proposal_recall"] is None else f"{s['proposal_recall']:.4f}"
        auroc = f"{s['answer_probability']['all']['auroc']:.4f}" if s["answer_probability"] else "none"
        lines.append(
            f"{s['split']:8} {cells[0]:>16} {cells[1]:>16} {s['num_queries']:8d} {s['num_images']:7d} "
            f"{recall:>10} {s['seconds_per_image']:8.4f} {auroc:>6}"
        )
    return "\n".join(lines)
