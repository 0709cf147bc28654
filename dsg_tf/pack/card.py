"""The card of a packed model: what it is, where it comes from, what it scores and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SCORES = {
    "subject_iou": "subject IoU",
    "object_iou": "object IoU",
    "ambiguous_subject_iou": "subject IoU, ambiguous",
    "ambiguous_object_iou": "object IoU, ambiguous",
}


def text(
    facts: Mapping[str, Any],
    texts: Mapping[str, Any],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown.

    Args:
      facts: `name`; `system`, a value of --model; `parameters`; `step`; `input`, (height, width) in pixels;
        `vocabulary`, a `Vocabulary`; `bytes` of all files.
      texts: `trained_on`, `license`, `command`, `time`; `limit`, a list of sentences.
      before, after: {split: what `eval_<split>.json` holds}, of the weights as trained and as rounded.
    """
    vocabulary = facts["vocabulary"]
    height, width = facts["input"]
    relations = ", ".join(vocabulary.relations)
    parts = [
        f"# {facts['name']}",
        f"A trained model of dsg_tf in half precision: `--model={facts['system']}`, {facts['parameters']:,} "
        f"parameters, {facts['bytes'] / 1e6:.1f} MB. Pictures may have any size; the network sees {width} × {height} "
        f"pixels. It knows {len(vocabulary.entities)} classes and {len(vocabulary.relations)} relations ({relations}): "
        "`vocabulary.json`.",
        f"```\n{_ask(facts['name'], vocabulary)}\n```",
        "\n".join(
            [
                "| | |",
                "|---|---|",
                f"| data | {texts['trained_on']} |",
                f"| license | {texts['license']} |",
                f"| trained with | `{texts['command']}` |",
                f"| time | {texts['time']} |",
                f"| weights | of step {facts['step']:,}, as `eval.py` takes them; float16, and float32 for vectors |",
            ]
        ),
    ]
    if after:
        parts.append(_scores(before, after))
    parts.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in texts["limit"]))
    return "\n\n".join(parts) + "\n"


def _ask(name: str, vocabulary) -> str:
    query = f"{vocabulary.entities[0]}, {vocabulary.relations[0]}, {vocabulary.entities[-1]}"
    return f'python eval.py --model_dir=models/{name} --image=photo.png --query "{query}" --output=answer.png'


def _scores(before, after) -> str:
    lines = [
        "## Scores",
        "",
        "± standard error over the queries; ambiguous are those whose class several boxes of the image share.",
        "",
        "| split | score | queries | as trained | rounded |",
        "|---|---|---|---|---|",
    ]
    for split, found in after.items():
        for key, title in _SCORES.items():
            role = key.removesuffix("_iou")
            count = found[f"num_{role}" if role.startswith("ambiguous") else "num_queries"]
            cells = [f"{s[key]:.4f} ± {s[f'{key}_stderr']:.4f}" for s in (before[split], found)]
            lines.append(f"| {split} | {title} | {count:,} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)
