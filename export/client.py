"""Asks a server about a photo.

python -m export.client --server=localhost:8500 --image=photo.jpg --query "person, riding, horse" --output=out.png
python -m export.client --server=localhost:8500 --image=photo.jpg --query "a person who rides a horse"
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from absl import flags

from dsg_tf.data.queries import Query
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict.answers import Answer, LabelledGraph
from dsg_tf.process import command
from dsg_tf.words import aliases
from export import connection

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("server", "localhost:8500", "host:port of the gRPC service", flag_values=values)
    flags.DEFINE_string("image", "", "JPEG, PNG or WebP file", flag_values=values)
    flags.DEFINE_multi_string(
        "query", [], '"subject, relation, object" or free text; may be given several times', flag_values=values
    )
    flags.DEFINE_string("aliases", "", "file with other words for the names of the model (JSON)", flag_values=values)
    flags.DEFINE_boolean(
        "scene_graph", False, "ask for the labelled scene graph in place of queries", flag_values=values
    )
    flags.DEFINE_boolean(
        "words", False, "ask for the words that queries may be made of; needs no --image", flag_values=values
    )
    flags.DEFINE_string("output", "", "where to draw the answers (PNG)", flag_values=values)
    flags.DEFINE_boolean("json", False, "print a JSON object a line", flag_values=values)
    flags.DEFINE_string("model_name", "dsg", "name of the model", flag_values=values)
    flags.DEFINE_integer(
        "version", None, "version of the model; default: the newest", lower_bound=0, flag_values=values
    )
    flags.DEFINE_string("label", "", "version label, such as stable, in place of --version", flag_values=values)
    flags.DEFINE_float("deadline", 30.0, "seconds to wait for the answer; inf: no limit", flag_values=values)
    flags.DEFINE_boolean("tls", False, "use TLS, with the certificate authorities of this machine", flag_values=values)
    flags.DEFINE_string("tls_roots", "", "use TLS, with the certificates in this file (PEM)", flag_values=values)
    flags.DEFINE_string(
        "tls_key", "", "use TLS, and show the server a certificate: its private key (PEM)", flag_values=values
    )
    flags.DEFINE_string("tls_certificate", "", "that certificate and its chain (PEM)", flag_values=values)
    flags.DEFINE_string(
        "token_file",
        "",
        "file with the token that the server asks for; sent with TLS or to this machine only",
        flag_values=values,
    )


def run() -> None:
    """The command `python -m export.client`, installed as `dsg-ask`."""
    command.run("client", define_flags, main, usage=__doc__, batches=lambda: False, stoppable=False)


def main() -> None:
    if bool(FLAGS.query) + FLAGS.scene_graph + FLAGS.words != 1:
        raise ValueError('ask with --query "subject, relation, object", or for the --scene_graph, or for the --words')
    if not FLAGS.words and not FLAGS.image:
        raise ValueError("--image is missing: the picture that is asked about")
    if FLAGS.words and FLAGS.output:
        raise ValueError(f"--output={FLAGS.output} is for answers about a picture; --words has none")
    deadline = connection.time_limit(FLAGS.deadline, "--deadline")
    if bool(FLAGS.tls_key) != bool(FLAGS.tls_certificate):
        raise ValueError(f"--tls_key={FLAGS.tls_key} and --tls_certificate={FLAGS.tls_certificate} go together")
    roots = _read(FLAGS.tls_roots) if FLAGS.tls_roots else b"" if FLAGS.tls else None
    key, certificate, token = _read(FLAGS.tls_key), _read(FLAGS.tls_certificate), _token()
    connection.metadata(FLAGS.server, token, encrypted=roots is not None or bool(key))
    image = _read(FLAGS.image)
    other_words = aliases.read(FLAGS.aliases) if FLAGS.aliases else None
    from export import dsg_client  # TensorFlow, which the stubs need, after mistyped flags and missing files.

    with dsg_client.DSGClient(
        FLAGS.server,
        model=FLAGS.model_name,
        version=FLAGS.version,
        label=FLAGS.label,
        timeout=deadline,
        tls_roots=roots,
        tls_key=key,
        tls_certificate=certificate,
        token=token,
        aliases=other_words,
    ) as client:
        if FLAGS.words:
            _show_words(client.words())
        elif FLAGS.scene_graph:
            _show_graph(image, client.scene_graph(image))
        else:
            _show_answers(image, client.ask(image, FLAGS.query))


def _show_graph(image: bytes, graph: LabelledGraph) -> None:
    from dsg_tf.drawing import answer_pictures, canvas

    print(json.dumps(graph.as_dict()) if FLAGS.json else _graph_text(graph))
    if FLAGS.output:
        canvas.save_png(answer_pictures.draw_graph(answer_pictures.open_image(image), graph), FLAGS.output)


def _show_answers(image: bytes, answers: Sequence[Answer]) -> None:
    from dsg_tf.drawing import answer_pictures, canvas

    for answer in answers:
        print(json.dumps(answer.as_dict()) if FLAGS.json else _text(answer))
    if FLAGS.output:
        canvas.save_png(answer_pictures.draw(image, answers), FLAGS.output)


def _show_words(vocabulary: Vocabulary) -> None:
    words = dataclasses.asdict(vocabulary)
    if FLAGS.json:
        print(json.dumps(words))
    else:
        print("\n".join(line for kind, names in words.items() for line in (kind, *(f"  {name}" for name in names))))


def _read(path: str) -> bytes:
    """The bytes of a file; of none where there is no path."""
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()


def _token() -> str:
    if not FLAGS.token_file:
        return ""
    token = _read(FLAGS.token_file).decode("ascii", "replace").strip()
    if not token:
        raise ValueError(f"--token_file={FLAGS.token_file} is empty")
    return token


def _text(answer: Answer) -> str:
    lines = [f"{answer.query}  {answer.not_found()}".rstrip()]
    if answer.understood != "; ".join(Query.parse(answer.query).parts):
        lines.append(f"  understood: {answer.understood}")
    for role in ROLES:
        boxes, scores = getattr(answer, f"{role}_boxes"), getattr(answer, f"{role}_scores")
        lines += [
            f"  {role:8}[{', '.join(f'{value:.1f}' for value in box)}]  {score:.3f}"
            for box, score in zip(boxes, scores)
        ]
    return "\n".join(lines)


def _graph_text(graph: LabelledGraph) -> str:
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


if __name__ == "__main__":
    run()
