"""The table, the paired tests and the plot of a comparison."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from scipy import stats

from dsg_tf.data.roles import ROLES
from dsg_tf.evaluation import query_results
from dsg_tf.evaluation.query_results import QueryResult
from dsg_tf.process import files

matplotlib.use("Agg")  # No display is needed.
from matplotlib import pyplot

REFERENCE = "dsg"
NAMES = {
    "dsg": "DSG",
    "no_dsg": "NO-DSG",
    "no_dsg_br": "NO-DSG +BR",
    "dsg_no_sgl": "DSG −SGL",
    "dsg_no_br": "DSG −BR",
    "two_step": "TWO STEP",
    "ssas": "SSAS",
    "ss": "SPATIAL SHIFTS",
    "co": "CO-OCCURRENCE",
    "vrd": "VRD",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained system: its seed, its minutes of training and evaluation, and the score of each query.

    The minutes are None where `train.py` trained it, and not the comparison: nobody counted them.
    """

    seed: int
    minutes: float | None
    queries: list[QueryResult]

    @classmethod
    def load(cls, model_dir: str, split: str, seed: int, minutes: float | None) -> Run:
        return cls(seed, minutes, query_results.read_queries(os.path.join(model_dir, f"queries_{split}.csv")))

    def ious(self, role: str) -> np.ndarray:
        return np.array([getattr(q, f"{role}_iou") for q in self.queries])

    def mean(self, role: str) -> float:
        return float(self.ious(role).mean())


def report(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Any]]:
    """What `compare.json` holds, by system.

    Per role: the mean IoU over seeds and queries; its standard error over the queries (of scores averaged over the
    seeds); the mean over ambiguous queries; the mean of each seed; and, where DSG was run, the mean difference from
    DSG and the p-value of a paired t-test. Queries of one image are not independent, so the test pairs images: the
    mean difference over the queries of each.

    Raises:
      ValueError: runs were scored on different queries.
    """
    keys = {name: [(q.image_id, q.triplet) for q in run.queries] for name, of_model in runs.items() for run in of_model}
    if any(key != next(iter(keys.values())) for key in keys.values()):
        raise ValueError(f"the runs of {', '.join(keys)} were scored on different queries")
    result = {}
    for name, of_model in runs.items():
        minutes = [run.minutes for run in of_model if run.minutes is not None]
        entry: dict[str, Any] = {
            "seeds": [run.seed for run in of_model],
            "minutes": round(float(np.mean(minutes)), 1) if minutes else None,
        }
        for role in ROLES:
            scores = _averaged(of_model, role)
            ambiguous = np.array([getattr(q, f"{role}_ambiguous") for q in of_model[0].queries])
            entry[role] = {
                "iou": float(scores.mean()),
                "stderr": float(stats.sem(scores)),
                "ambiguous_iou": float(scores[ambiguous].mean()) if ambiguous.any() else None,
                "num_ambiguous": int(ambiguous.sum()),
                "by_seed": [run.mean(role) for run in of_model],
            }
            if name != REFERENCE and REFERENCE in runs:
                entry[role] |= paired_test(
                    scores - _averaged(runs[REFERENCE], role), [q.image for q in of_model[0].queries]
                )
        result[name] = entry
    return result


def paired_test(differences, images) -> dict[str, float]:
    """Mean of `differences` of queries, and the p-value of a t-test over `images`, the image of each query."""
    differences, images = np.asarray(differences, float), np.asarray(images)
    _, number = np.unique(images, return_inverse=True)
    of_image = np.bincount(number, weights=differences) / np.bincount(number)
    # Systems that agree everywhere have no spread, and no evidence of a difference.
    p_value = float(stats.ttest_1samp(of_image, 0.0).pvalue) if np.ptp(of_image) else 1.0
    return {"difference": float(differences.mean()), "p_value": p_value}


def display_name(system: str) -> str:
    """The paper's name of a system; of a control, with what it does not see."""
    model, _, hidden = system.partition("-")
    return NAMES[model] + (f" without {hidden}" if hidden else "")


def _averaged(of_model: Sequence[Run], role: str) -> np.ndarray:
    return np.mean([run.ious(role) for run in of_model], axis=0)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The paper's Table 1 or 2 as Markdown, and what the paper leaves out."""
    lines = [
        "| system | subject IoU | object IoU | ambiguous subject / object | difference from DSG (subject, object) "
        "| p | seeds | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in found.items():
        both = [entry[role] for role in ROLES]
        difference = p_value = ""
        if "difference" in both[0]:
            difference = ", ".join(f"{part['difference']:+.3f}" for part in both)
            p_value = ", ".join(f"{part['p_value']:.1g}" for part in both)
        ambiguous = " / ".join(
            "none" if part["ambiguous_iou"] is None else f"{part['ambiguous_iou']:.3f}" for part in both
        )
        ious = [f"{part['iou']:.3f} ± {part['stderr']:.3f}" for part in both]
        cells = [
            display_name(name),
            *ious,
            ambiguous,
            difference,
            p_value,
            str(len(entry["seeds"])),
            "" if entry["minutes"] is None else f"{entry['minutes']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(runs: Mapping[str, Sequence[Run]], compare_dir: str, split: str) -> None:
    """Writes `compare.json`, `compare.md` and `compare.png`."""
    found = report(runs)
    num_queries = len(next(iter(runs.values()))[0].queries)
    files.write_json(
        os.path.join(compare_dir, "compare.json"), {"split": split, "num_queries": num_queries, "systems": found}
    )
    files.write_text(os.path.join(compare_dir, "compare.md"), table(found) + "\n")
    with files.atomic(os.path.join(compare_dir, "compare.png")) as temporary:
        plot(found, f"{num_queries:,} queries of the {split} split", temporary)


def plot(found: Mapping[str, Mapping[str, Any]], title: str, path: str) -> None:
    """Draws the mean IoU of each system with its standard error, and a dot for each seed."""
    figure, axes = pyplot.subplots(figsize=(7, 1.2 + 0.5 * len(found)), layout="constrained")
    names = list(found)[::-1]
    for role, color, offset in (("subject", "#009e3c", 0.18), ("object", "#8f2dde", -0.18)):
        rows = np.arange(len(names)) + offset
        parts = [found[name][role] for name in names]
        axes.barh(
            rows,
            [part["iou"] for part in parts],
            height=0.34,
            xerr=[part["stderr"] for part in parts],
            color=color,
            alpha=0.75,
            label=role,
        )
        for row, part in zip(rows, parts):
            axes.plot(part["by_seed"], [row] * len(part["by_seed"]), "o", color="black", markersize=3)
    axes.set_yticks(np.arange(len(names)), [display_name(name) for name in names])
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU (bars: mean ± standard error over queries; dots: seeds)")
    axes.set_title(title)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
