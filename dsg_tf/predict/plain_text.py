"""Answers and scene graphs as lines for people."""

from __future__ import annotations

from dsg_tf.data.queries import Query
from dsg_tf.data.roles import ROLES
from dsg_tf.predict.answers import FOUND, Answer, LabelledGraph


def of_answer(answer: Answer, threshold: float = FOUND) -> str:
    """The question, what it was taken for, and the boxes; says so where nothing was found."""
    lines = [f"{answer.query}  {answer.not_found(threshold)}".rstrip()]
    if answer.understood != "; ".join(Query.parse(answer.query).parts):
        lines.append(f"  understood: {answer.understood}")
    for role in ROLES:
        boxes, scores = getattr(answer, f"{role}_boxes"), getattr(answer, f"{role}_scores")
        lines += [
            f"  {role:8}[{', '.join(f'{value:.1f}' for value in box)}]  {score:.3f}"
            for box, score in zip(boxes, scores)
        ]
    return "\n".join(lines)


def of_graph(graph: LabelledGraph) -> str:
    """The boxes with their classes, then the relations, most probable first."""
    names = [f"{number + 1} {name}" for number, name in enumerate(graph.entities)]
    lines = [
        f"{name:32}[{', '.join(f'{value:.1f}' for value in box)}]  {score:.3f}"
        for name, box, score in zip(names, graph.boxes, graph.entity_scores)
    ]
    lines += [
        f"{names[i]} - {relation} - {names[j]}  {score:.3f}"
        for (i, relation, j), score in zip(graph.relations, graph.relation_scores)
    ]
    return "\n".join(lines)
