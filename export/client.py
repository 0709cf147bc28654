"""Asks a server about a photo.

  python -m export.client --server=localhost:8500 --image=photo.jpg --query "person, riding, horse" --output=out.png
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys

from absl import app, flags

FLAGS = flags.FLAGS


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    from export import dsg_client  # TensorFlow, which the stubs need, after --help and mistyped flags.

    try:
        ask(dsg_client)
    except (ValueError, OSError, dsg_client.RequestError) as error:
        sys.exit(f"client: {error}")


def ask(dsg_client) -> None:
    from dsg_tf import answers, visualize

    if bool(FLAGS.query) == FLAGS.scene_graph:
        raise ValueError('ask either with --query "subject, relation, object" or for the --scene_graph')
    with open(FLAGS.image, "rb") as file:
        image = file.read()
    with dsg_client.DSGClient(FLAGS.server, model=FLAGS.model_name, version=FLAGS.version, label=FLAGS.label,
                              timeout=FLAGS.deadline, tls_roots=_roots()) as client:
        found = [client.scene_graph(image)] if FLAGS.scene_graph else client.ask(image, FLAGS.query)
    for item in found:
        print(json.dumps(item.as_dict()) if FLAGS.json else _graph_text(item) if FLAGS.scene_graph else _text(item))
    if FLAGS.output:
        visualize.save_png(answers.draw_graph(answers.picture(image), found[0]) if FLAGS.scene_graph
                           else answers.draw(image, found), FLAGS.output)


def _roots() -> bytes | None:
    if not FLAGS.tls_roots:
        return b"" if FLAGS.tls else None
    with open(FLAGS.tls_roots, "rb") as file:
        return file.read()


def _text(answer) -> str:
    lines = [answer.query]
    for role in ("subject", "object"):
        boxes, scores = getattr(answer, f"{role}_boxes"), getattr(answer, f"{role}_scores")
        lines += [f"  {role:8}[{', '.join(f'{value:.1f}' for value in box)}]  {score:.3f}"
                  for box, score in zip(boxes, scores)]
    return "\n".join(lines)


def _graph_text(graph) -> str:
    names = [f"{number + 1} {name}" for number, name in enumerate(graph.entities)]
    lines = [f"{name:32}[{', '.join(f'{value:.1f}' for value in box)}]  {score:.3f}"
             for name, box, score in zip(names, graph.boxes, graph.entity_scores)]
    lines += [f"{names[i]} - {relation} - {names[j]}  {score:.3f}"
              for (i, relation, j), score in zip(graph.relations, graph.relation_scores)]
    return "\n".join(lines)


if __name__ == "__main__":
    flags.DEFINE_string("server", "localhost:8500", "host:port of the gRPC service")
    flags.DEFINE_string("image", None, "JPEG, PNG or WebP file", required=True)
    flags.DEFINE_multi_string("query", [], '"subject, relation, object"; may be given several times')
    flags.DEFINE_boolean("scene_graph", False, "ask for the labelled scene graph in place of queries")
    flags.DEFINE_string("output", "", "where to draw the answers (PNG)")
    flags.DEFINE_boolean("json", False, "print a JSON object a line")
    flags.DEFINE_string("model_name", "dsg", "name of the model")
    flags.DEFINE_integer("version", None, "version of the model; default: the newest", lower_bound=0)
    flags.DEFINE_string("label", "", "version label, such as stable, in place of --version")
    flags.DEFINE_float("deadline", 30.0, "seconds to wait for the answer", lower_bound=0.001)
    flags.DEFINE_boolean("tls", False, "use TLS, with the certificate authorities of this machine")
    flags.DEFINE_string("tls_roots", "", "use TLS, with the certificates in this file (PEM)")
    app.run(main)
