"""Scores of an evaluation as tables: over all queries, by relation, by class, and the kinds of error."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence

from dsg_tf.data.roles import QUERY_PARTS, ROLES
from dsg_tf.drawing import page
from dsg_tf.evaluation import query_results
from dsg_tf.evaluation.analysis import errors
from dsg_tf.evaluation.query_results import QueryResult

Kinds = Mapping[str, Sequence[str]]  # By role, of each query; see `ErrorKinds`.


def bar(values: Sequence[float]) -> page.Bar:
    """The mean of IoUs with its standard error; "–" of none."""
    mean, stderr = query_results.mean(values)
    if math.isnan(mean):
        return page.Bar("–", None)
    if math.isnan(stderr):
        return page.Bar(f"{mean:.3f}", mean)
    return page.Bar(f"{mean:.3f} ± {stderr:.3f}", mean, stderr)


def overview(queries: Sequence[QueryResult]) -> page.Html:
    """IoU of each role over all queries, over those that are ambiguous in it and over the others."""
    rows: list[page.Row] = []
    for role in ROLES:
        ious = [getattr(q, f"{role}_iou") for q in queries]
        hard = [getattr(q, f"{role}_ambiguous") for q in queries]
        for name, chosen in (
            (role, ious),
            (f"{role}, ambiguous", [iou for iou, is_hard in zip(ious, hard) if is_hard]),
            (f"{role}, not ambiguous", [iou for iou, is_hard in zip(ious, hard) if not is_hard]),
        ):
            rows.append([name, bar(chosen), len(chosen)])
    return page.table("Scores", ["role", "mean IoU ± standard error", "queries"], rows)


def error_kinds(queries: Sequence[QueryResult], kinds: Kinds) -> page.Html:
    """How many answers are of each kind, and how many of those to queries that are ambiguous in the role."""
    heads, columns = ["kind"], []
    for role in ROLES:
        hard = [kind for kind, q in zip(kinds[role], queries) if getattr(q, f"{role}_ambiguous")]
        for head, of in ((role, kinds[role]), (f"{role}, ambiguous", hard)):
            numbers = collections.Counter(of)
            heads.append(head)
            columns.append([_share(numbers[kind], len(of)) for kind in errors.KINDS])
    rows = [[*row, meaning] for row, meaning in zip(zip(errors.KINDS, *columns), errors.MEANINGS.values())]
    return page.table("Answers by kind", [*heads, "what it means"], rows)


def by_relation(queries: Sequence[QueryResult], kinds: Kinds, names: Sequence[str]) -> page.Html:
    """Queries and scores of each relation that is asked for, most frequent first."""
    numbers = _groups([q.triplet[1] for q in queries])
    rows = []
    for relation, chosen in numbers:
        cells: list[page.Cell] = [len(chosen)]
        cells += [bar([getattr(queries[k], f"{role}_iou") for k in chosen]) for role in ROLES]
        rows.append(
            [names[relation], *cells, *_worst([kinds[role][k] for role in ROLES for k in chosen if kinds[role]])]
        )
    heads = ["relation", "queries", *(f"{role} IoU" for role in ROLES), *_worst_head(kinds)]
    return page.table("Scores by relation", heads, rows)


def by_class(queries: Sequence[QueryResult], kinds: Kinds, names: Sequence[str]) -> page.Html:
    """Queries and scores of each class that is asked for, as subject and as object, most frequent first."""
    asked = [(role, k) for role in ROLES for k in range(len(queries))]
    groups = _groups([queries[k].triplet[QUERY_PARTS.index(role)] for role, k in asked])
    rows = []
    for entity, places in groups:
        cells: list[page.Cell] = []
        for role in ROLES:
            ious = [getattr(queries[asked[p][1]], f"{role}_iou") for p in places if asked[p][0] == role]
            cells += [len(ious), bar(ious)]
        found = [kinds[asked[p][0]][asked[p][1]] for p in places if kinds[asked[p][0]]]
        rows.append([names[entity], *cells, *_worst(found)])
    heads = ["class", *(head for role in ROLES for head in (f"as {role}", f"{role} IoU")), *_worst_head(kinds)]
    return page.table("Scores by class", heads, rows)


def _groups(keys: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The positions of each key, most frequent first, of equals the smallest key."""
    positions: dict[int, list[int]] = {}
    for k, key in enumerate(keys):
        positions.setdefault(key, []).append(k)
    return sorted(positions.items(), key=lambda item: (-len(item[1]), item[0]))


def _worst_head(kinds: Kinds) -> list[str]:
    return ["most frequent error"] if any(kinds.values()) else []


def _worst(found: Sequence[str]) -> list[page.Cell]:
    """The most frequent kind that is an error, with its share of the answers; nothing where no kinds are known."""
    if not found:
        return []
    wrong = collections.Counter(kind for kind in found if kind != "right")
    kind, number = wrong.most_common(1)[0] if wrong else ("none", 0)
    return [f"{kind} ({number / len(found):.1%})" if number else kind]


def _share(number: int, total: int) -> page.Bar:
    share = number / total if total else None
    return page.Bar(f"{number:,}" + ("" if share is None else f" ({share:.1%})"), share)
