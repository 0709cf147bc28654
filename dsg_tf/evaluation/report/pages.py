"""The page about an evaluation: `report_<split>.html`, beside its other files."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from dsg_tf import config as config_lib
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import page
from dsg_tf.evaluation import gallery
from dsg_tf.evaluation.query_results import Evaluation, QueryResult
from dsg_tf.evaluation.report import calibration, scores
from dsg_tf.process import provenance


@dataclasses.dataclass(frozen=True)
class About:
    """What was evaluated: settings, words, and where data, model and results are."""

    config: config_lib.Config
    vocabulary: Vocabulary
    data_dir: str
    trained_in: str
    results_dir: str


def write(
    about: About, summary: Mapping[str, Any], result: Evaluation, kinds: scores.Kinds, panels: gallery.Panels
) -> None:
    """Writes the page.

    Args:
      about: what was evaluated.
      summary: what `eval_<split>.json` holds.
      result: the evaluation, with the counts of `score_bins.count_roles`.
      kinds: of its answers, see `ErrorKinds`.
      panels: pictures of some of its queries, by `worst` and `best`.
    """
    path = os.path.join(about.results_dir, f"report_{summary['split']}.html")
    page.write(path, document(about, summary, result, kinds, panels))


def document(
    about: About, summary: Mapping[str, Any], result: Evaluation, kinds: scores.Kinds, panels: gallery.Panels
) -> page.Html:
    """The page, see `write`."""
    queries, vocabulary, has_boxes = result.queries, about.vocabulary, not about.config.is_attention_model
    if not queries:
        body = [page.Section("Scores", ["The split has no queries."])]
    else:
        wrong: list[page.Content] = ["This system answers with maps, whose errors have no kinds."]
        if has_boxes:
            wrong = [scores.error_kinds(queries, kinds)]
        body = [
            page.Section("Scores", [_scores(result), scores.overview(queries)]),
            page.Section("What is wrong", wrong),
            page.Section("By relation", [scores.by_relation(queries, kinds, vocabulary.relations)]),
            page.Section("By class", [scores.by_class(queries, kinds, vocabulary.entities)]),
            page.Section(
                "Probabilities",
                [
                    *calibration.of_answers(result),
                    *calibration.of_roles(result.counts, "boxes" if has_boxes else "cells"),
                ],
            ),
            *_pictures(queries, kinds, panels, vocabulary),
        ]
    introduction = page.text(
        page.code(about.trained_in),
        f", {about.config.system}, after step {summary['step']:,}; split {summary['split']} of ",
        page.code(about.data_dir),
        f": {result.num_images:,} images, {len(queries):,} queries.",
    )
    name = os.path.basename(os.path.normpath(about.trained_in))
    return page.page(f"{name} on {summary['split']}", introduction, [*body, _settings(about, summary["split"])])


def _scores(result: Evaluation) -> page.Html:
    recall = "" if result.proposal_recall is None else f"{result.proposal_recall:.1%} of the true boxes are proposed. "
    return page.text(
        "IoU of the cells of a grid of 14 × 14 that the answered and the true boxes cover, its mean over queries; a "
        "query is ambiguous in a role if several boxes of the image are of its class. Standard errors take queries as "
        f"independent. {recall}The network took {result.seconds_per_image:.3f} s an image."
    )


def _pictures(
    queries: Sequence[QueryResult], kinds: scores.Kinds, panels: gallery.Panels, vocabulary: Vocabulary
) -> list[page.Section]:
    number = {(query.image, query.query): k for k, query in enumerate(queries)}
    sections = []
    for name, title in (("worst", "Worst queries"), ("best", "Best queries")):
        shown = [
            _picture(
                query,
                image,
                [kinds[role][number[query.image, query.query]] for role in ROLES if kinds[role]],
                vocabulary,
            )
            for query, image in panels.get(name, [])
        ]
        if shown:
            sections.append(page.Section(title, ["One an image.", page.pictures(shown, wide=True)]))
    return sections


def _picture(query: QueryResult, image: Image.Image, kinds: Sequence[str], vocabulary: Vocabulary) -> page.Picture:
    asked = gallery.describe(query.triplet, vocabulary)
    found = f"subject IoU {query.subject_iou:.2f}, object IoU {query.object_iou:.2f}"
    parts = [f"{asked}: {found}"]
    if kinds:
        parts.append(", ".join(f"{role} {kind}" for role, kind in zip(ROLES, kinds)))
    hard = [role for role in ROLES if getattr(query, f"{role}_ambiguous")]
    if hard:
        parts.append(f"{' and '.join(hard)} ambiguous")
    if query.answer_probability is not None:
        parts.append(f"answer_probability {query.answer_probability:.2f}")
    alt = f"{query.image_id}: true and answered boxes of {asked}"
    return page.Picture(image, alt, f"{'; '.join(parts)}. {query.image_id}, query {query.query}.")


def _settings(about: About, split: str) -> page.Section:
    defaults = config_lib.Config()
    changed: list[page.Row] = []
    others: list[page.Row] = []
    for field in dataclasses.fields(about.config):
        value, default = getattr(about.config, field.name), getattr(defaults, field.name)
        if value == default:
            others.append([field.name, _words(value)])
        else:
            changed.append([field.name, _words(value), _words(default)])
    heads = ["setting", "value", "default"]
    files = [f"eval_{split}.json", f"queries_{split}.csv", f"figures/{split}_sample.png", f"figures/{split}_worst.png"]
    parts: list[page.Content] = [
        page.table("The program", ["part", "version"], list(provenance.description().items())),
        page.table("Settings that are not the default", heads, changed),
        page.details("The others", page.table("Settings that are the default", heads[:2], others)),
        page.text("The same numbers as files, in ", page.code(about.results_dir), ": ", ", ".join(files), "."),
    ]
    if not config_lib.is_packed(config_lib.find(about.trained_in)):
        command = shlex.join(["tensorboard", f"--logdir={about.trained_in}"])
        parts.append(page.text("The course of its training: ", page.code(command)))
    return page.Section("Settings of the run", parts)


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
