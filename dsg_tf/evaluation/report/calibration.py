"""How far a probability can be believed: reliability diagrams and curves of precision and recall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsg_tf.data.roles import ROLES
from dsg_tf.drawing import curves, page
from dsg_tf.evaluation import binary_scores
from dsg_tf.evaluation.query_results import Evaluation
from dsg_tf.objectives import score_bins

_FIELDS = ("auroc", "average_precision", "calibration_error")


def of_answers(result: Evaluation) -> list[page.Content]:
    """`answer_probability`, of queries that hold and of those that do not."""
    if not result.answer_probability:
        return ["This system has no answer_probability."]
    truths = [q.answer_probability for q in result.queries if q.answer_probability is not None]
    others = [p for values in result.absent.values() for p in values]
    rows = [
        [
            name.replace("_", " "),
            *(f"{part[field]:.3f}" for field in _FIELDS),
            part["num_true"],
            part["num_contrastive"],
        ]
        for name, part in result.answer_probability.items()
    ]
    heads = ["against", "AUROC", "average precision", "calibration error", "that hold", "that do not"]
    means, shares, numbers = binary_scores.reliability(truths, others)
    bins = np.stack([np.histogram(values, score_bins.BINS - 1, (0, 1))[0] for values in (others, truths)])
    bins = np.pad(bins, [[0, 0], [0, 1]])
    return [
        page.text(
            page.code("answer_probability"),
            " says whether what is asked for is in the image at all. Each image was asked as many queries that do not "
            "hold as it has queries.",
        ),
        page.table("Queries that hold against those that do not", heads, rows),
        curves.side_by_side(
            [
                _diagram("Reliability of answer_probability", {"all queries": (means, shares)}),
                _precision("Precision and recall of answer_probability", {"queries that hold": bins}),
            ]
        ),
        page.details("The numbers of the reliability diagram", _bins(means, shares, numbers)),
    ]


def of_roles(counts: Mapping[str, np.ndarray], what: str) -> list[page.Content]:
    """The probabilities of `score_bins.count_roles`, of boxes or cells (`what`) as subject and as object."""
    of_role = {role: counts[role][0] for role in ROLES if role in counts and counts[role].any()}
    if not of_role:
        return []
    points = {role: score_bins.reliability(bins)[:2] for role, bins in of_role.items()}
    return [
        page.heading(f"Probabilities of {what}"),
        f"What the classifier says of all {what}, query by query, of each role.",
        curves.side_by_side(
            [
                _diagram("Reliability of the roles' probabilities", points),
                _precision("Precision and recall of the roles' probabilities", of_role),
            ]
        ),
    ]


def _diagram(title: str, points: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> page.Html:
    lines = [curves.Curve(name, list(zip(*map(np.ndarray.tolist, xy))), marked=True) for name, xy in points.items()]
    return curves.plot(title, "mean probability", "share that is true", lines, guide=True)


def _precision(title: str, counts: Mapping[str, np.ndarray]) -> page.Html:
    lines = []
    for name, bins in counts.items():
        found = score_bins.precision_recall(bins)
        said = found["true_positive_counts"] + found["false_positive_counts"] > 0
        lines.append(curves.Curve(name, list(zip(found["recall"][said].tolist(), found["precision"][said].tolist()))))
    return curves.plot(title, "recall", "precision", lines)


def _bins(means: np.ndarray, shares: np.ndarray, numbers: np.ndarray) -> page.Html:
    edges = np.linspace(0, 1, len(numbers) + 1)
    rows = [
        [f"{low:.2f} to {high:.2f}", int(number), f"{mean:.3f}", page.Bar(f"{share:.3f}", float(share))]
        for low, high, mean, share, number in zip(edges, edges[1:], means, shares, numbers)
        if number
    ]
    return page.table("answer_probability in bins", ["bin", "queries", "mean", "share that holds"], rows)
