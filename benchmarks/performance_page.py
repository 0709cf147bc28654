"""The page docs/performance.md, from the reports of the benchmarks: each aim beside what was measured."""

from __future__ import annotations

import os

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes.md")


def page(reports: dict[str, dict]) -> str:
    """The Markdown page.

    Args:
      reports: by the names of `BENCHMARKS`; aims whose reports are not there are left out.
    """
    groups = (union_rows, graph_rows, network_rows, onednn_rows, pipeline_rows, serving_rows)
    rows = [row for group in groups for row in group(reports)]
    parts = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.all`. Ratios are medians over rounds in which all candidates take turns;",
        '"gradient" and "step" are forward and backward.',
        "",
        "| what | aim | measured | met |",
        "|---|---|---|---|",
    ]
    parts += [
        f"| {what} | {aim} | {measured} | {'yes' if met(aim, measured) else '**no**'} |"
        for what, aim, measured in rows
        if aim
    ]
    parts += ["", "| what has no aim | measured |", "|---|---|"]
    parts += [f"| {what} | {measured} |" for what, aim, measured in rows if not aim]
    parts.append("")
    with open(NOTES, encoding="utf-8") as file:  # What no benchmark of today can tell: how it was before, and why.
        parts += [file.read()]
    if "scaling" in reports:
        parts += [
            "## Exponents",
            "",
            "Time grows with this power of the size:",
            "",
            "| part | all sizes | the last two |",
            "|---|---|---|",
        ]
        parts += [
            f"| {name} | {found['all']} | {found['last_two']} |"
            for name, found in reports["scaling"]["exponents"].items()
        ]
        parts.append("")
    for name, report in reports.items():
        title = name.replace("_", " ").capitalize().replace("onednn", "oneDNN")
        parts += [f"## {title}", "", f"`{report['command']}`", "", *_medians(report), _machine(report["machine"]), ""]
    return "\n".join(parts)


def met(aim: str, measured: float) -> bool:
    """Whether a number reaches an aim such as ">= 25" or "<= 1.05"."""
    sign, limit = aim.split()
    return measured >= float(limit) if sign == ">=" else measured <= float(limit)


def union_rows(reports):
    """Union features at the largest number of boxes that the cropping ways were measured with."""
    for name, words in (("union_features", ""), ("union_features_without_onednn", " without oneDNN")):
        if name not in reports:
            continue
        report = reports[name]
        count = max(
            (int(count) for count, found in report["by_boxes"].items() if "textbook" in found["forward"]["median_ms"]),
            default=None,
        )
        if count is not None:
            found = report["by_boxes"][str(count)]
            for fast in ("matmul", "integral"):
                for kind in ("forward", "gradient"):
                    for slow, aim in (("textbook", ">= 25"), ("crop_and_resize", ""), ("roi_align", "")):
                        yield (
                            f"union features{words}, {kind}, n = {count}: {slow} / {fast}",
                            aim,
                            found[kind]["ratios"][f"{slow} / {fast}"],
                        )
        if "memory" in report:
            for ratio, value in report["memory"]["ratios"].items():
                yield (
                    f"peak memory ({report['memory']['how']}), n = {report['memory']['boxes']}: {ratio}",
                    ">= 20" if "textbook" in ratio else "",
                    value,
                )


def graph_rows(reports):
    """The graph layer and the classifier."""
    if "graph_layer" not in reports:
        return
    report = reports["graph_layer"]
    for part, words, aim in (("graph_layer", "graph layer", ">= 2"), ("classifier", "classifier", "")):
        for kind in ("forward", "gradient"):
            yield f"{words}, {kind}: textbook / split", aim, report[part]["textbook / split"][kind]
    for kind in ("forward", "gradient"):
        share = report["graph_layer"]["share_of_matmul_rate"][f"split {kind}"]
        yield f"graph layer, {kind}: share of a plain matrix product's rate", ">= 0.6", share


def network_rows(reports):
    """Table 3 of the paper; its own ratios are 1.2 at inference and 1.15 in training.

    The aims are for its network: in a small one the graph is a larger part.
    """
    paper = {"inference, with the graph / without": "<= 1.05", "step, with the graph / without": "<= 1.1"}
    for name, aims, words in (
        ("network", {}, ""),
        ("network_with_onednn", {}, " with oneDNN"),
        ("network_of_the_paper", paper, ""),
    ):
        if name in reports:
            report = reports[name]
            network = report["settings"] + words
            for key, value in report["ratios"].items():
                yield f"{network}: {key}", aims.get(key, ""), value
            yield f"{network}: training step, images a second", "", report["step_images_per_second"]
            yield f"{network}: evaluation, images a second", "", report["evaluation_images_per_second"]
            yield (
                f"{network}: share of the evaluation's time that its network takes alone",
                ">= 0.5",
                report["network_share_of_evaluation"],
            )


def onednn_rows(reports):
    """What the rule of `dsg_tf.process.environment` rests on."""
    if "onednn" in reports:
        for isa, ratios in reports["onednn"]["on / off"].items():
            words = "" if isa == "native" else f" with no more than {isa}"
            for call, ratio in ratios.items():
                yield f"oneDNN{words}, {call}: images a second with it / without", "", ratio


def pipeline_rows(reports):
    """How many times as fast as a training step the input is."""
    if "network_with_onednn" in reports and "input_pipeline" in reports:
        step = reports["network_with_onednn"]["step_images_per_second"]
        for cores, rate in reports["input_pipeline"]["images_per_second_by_cores"].items():
            yield (
                f"input pipeline on {cores} {'core' if cores == '1' else 'cores'} / training step, images a second "
                f"({rate} / {step})",
                ">= 5" if cores == "1" else "",
                round(rate / step, 2),
            )


def serving_rows(reports):
    """What more queries cost a request with one image, and what the server adds to the model."""
    if "serving" in reports:
        for network, found in reports["serving"]["configurations"].items():
            for count, aim in (("100", "<= 1.05"), ("1000", "<= 1.25")):
                yield (
                    f"{network}: refer with {count} queries / with one",
                    aim,
                    found["refer_relative_to_one_query"][count],
                )
            yield (
                f"{network}: milliseconds that the server adds to answer with one query",
                "<= 3",
                found["server_overhead_ms"]["answer 1"],
            )
            for clients, speed in found["throughput_of_refer_10"].items():
                yield f"{network}: refer, requests a second, {clients}", "", speed["requests_per_second"]


def _medians(report):
    """Rows of every table of medians inside a report, wherever it lies."""
    tables = list(_find(report, "median_ms"))
    if not tables:
        return []
    rows = ["| milliseconds | median |", "|---|---|"]
    for where, medians in tables:
        prefix = "".join(f"{part}, " for part in where)
        rows += [f"| {prefix}{name} | {value:.4g} |" for name, value in medians.items()]
    return [*rows, ""]


def _find(value, key, where=()):
    if isinstance(value, dict):
        if key in value:
            yield where, value[key]
        for name, inner in value.items():
            yield from _find(inner, key, (*where, name))


def _machine(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores, load average "
        f"{machine['load_average']}; {versions}."
    )
