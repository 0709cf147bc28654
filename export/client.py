"""Asks a model, or a server, about a photo.

dsg-ask --model=clevr photo.png "red cube left of the metal ball" --output=answer.png
python -m export.client --server=localhost:8500 --image=photo.jpg --query "person, riding, horse" --output=out.png
python -m export.client --server=localhost:8500 --image=photo.jpg --query "a person who rides a horse"
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers as answer_lib
from dsg_tf.predict import loading, plain_text
from dsg_tf.predict.answers import Answer, LabelledGraph
from dsg_tf.process import command
from dsg_tf.words import aliases
from export import connection

FLAGS = flags.FLAGS
_OF_SERVERS = (
    "server",
    "model_name",
    "version",
    "label",
    "deadline",
    "tls",
    "tls_roots",
    "tls_key",
    "tls_certificate",
    "token_file",
)


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model",
        "",
        "answer in this process, with the model at hand of this name, a model directory or an export",
        flag_values=values,
    )
    flags.DEFINE_string(
        "server", "localhost:8500", "in place of --model: host:port of the gRPC service", flag_values=values
    )
    flags.DEFINE_string("image", "", "JPEG, PNG or WebP file; or the first argument", flag_values=values)
    flags.DEFINE_multi_string(
        "query",
        [],
        '"subject, relation, object" or free text; may be given several times; or the arguments after the picture',
        flag_values=values,
    )
    flags.DEFINE_string("aliases", "", "file with other words for the names of the model (JSON)", flag_values=values)
    flags.DEFINE_boolean(
        "scene_graph", False, "ask for the labelled scene graph in place of queries", flag_values=values
    )
    flags.DEFINE_boolean(
        "words", False, "ask for the words that queries may be made of; needs no --image", flag_values=values
    )
    flags.DEFINE_string("output", "", "where to draw the answers (PNG)", flag_values=values)
    flags.DEFINE_float(
        "threshold",
        answer_lib.FOUND,
        "answer_probability below which it is said, and drawn, that nothing was found",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=values,
    )
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
    command.run(
        "client",
        define_flags,
        main,
        usage=__doc__,
        batches=lambda: False,
        stoppable=False,
        take_arguments=take_arguments,
    )


def take_arguments(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """The picture, unless --image names it, and queries."""
    rest = list(arguments)
    if rest and not values.image and not values.words:
        values.image = rest.pop(0)
    if rest:
        values.query = [*values.query, *rest]


def main() -> None:
    if bool(FLAGS.query) + FLAGS.scene_graph + FLAGS.words != 1:
        raise ValueError('ask with --query "subject, relation, object", or for the --scene_graph, or for the --words')
    if not FLAGS.words and not FLAGS.image:
        raise ValueError("--image is missing: the picture that is asked about")
    if FLAGS.words and FLAGS.output:
        raise ValueError(f"--output={FLAGS.output} is for answers about a picture; --words has none")
    if FLAGS["threshold"].present and not FLAGS.query:
        raise ValueError(f"--threshold={FLAGS.threshold} is for queries")
    of_servers = [f"--{name}={FLAGS[name].value}" for name in _OF_SERVERS if FLAGS[name].present]
    if FLAGS.model and of_servers:
        raise ValueError(f"--model={FLAGS.model} answers in this process, without a server: {of_servers[0]} is for one")
    with _model() if FLAGS.model else _server() as (asked, image):
        if FLAGS.words:
            _show_words(asked.vocabulary if FLAGS.model else asked.words())
        elif FLAGS.scene_graph:
            _show_graph(asked.scene_graph(image))
        else:
            _show_answers(asked.ask(image, FLAGS.query))


@contextlib.contextmanager
def _model() -> Iterator[tuple[Any, str]]:
    """The model of --model, and the picture for it."""
    loading.find(FLAGS.model)
    _read(FLAGS.image)
    other_words = aliases.read(FLAGS.aliases) if FLAGS.aliases else None
    gc.disable()  # A million objects that stay would be looked at again and again; the process is short.
    from dsg_tf import api

    yield api.load_model(FLAGS.model, aliases=other_words), FLAGS.image


@contextlib.contextmanager
def _server() -> Iterator[tuple[Any, bytes]]:
    """A client of --server, and the picture for it."""
    deadline = connection.time_limit(FLAGS.deadline, "--deadline")
    if bool(FLAGS.tls_key) != bool(FLAGS.tls_certificate):
        raise ValueError(f"--tls_key={FLAGS.tls_key} and --tls_certificate={FLAGS.tls_certificate} go together")
    roots = _read(FLAGS.tls_roots) if FLAGS.tls_roots else b"" if FLAGS.tls else None
    key, certificate, token = _read(FLAGS.tls_key), _read(FLAGS.tls_certificate), _token()
    connection.metadata(FLAGS.server, token, encrypted=roots is not None or bool(key))
    image = _read(FLAGS.image)
    other_words = aliases.read(FLAGS.aliases) if FLAGS.aliases else None
    from export import dsg_client  # TensorFlow, which the stubs need, after mistyped flags and missing files.

    with (
        _telling_of_models(dsg_client.RequestError),
        dsg_client.DSGClient(
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
        ) as client,
    ):
        yield client, image


@contextlib.contextmanager
def _telling_of_models(refusal: Any) -> Iterator[None]:
    """Where nobody said which server, and there is none, an error of the type `refusal` says what else answers."""
    try:
        yield
    except refusal as error:
        if error.code != "UNAVAILABLE" or FLAGS["server"].present:
            raise
        raise refusal(
            error.code, f"{error.message}. Name a --server, or a --model, such as clevr, that answers in this process"
        ) from error


def _show_graph(graph: LabelledGraph) -> None:
    from dsg_tf.drawing import answer_pictures, canvas

    print(json.dumps(graph.as_dict()) if FLAGS.json else plain_text.of_graph(graph))
    if FLAGS.output:
        canvas.save_png(answer_pictures.draw_graph(answer_pictures.open_image(_read(FLAGS.image)), graph), FLAGS.output)


def _show_answers(answers: Sequence[Answer]) -> None:
    from dsg_tf.drawing import answer_pictures, canvas

    for answer in answers:
        print(json.dumps(answer.as_dict()) if FLAGS.json else plain_text.of_answer(answer, FLAGS.threshold))
    if FLAGS.output:
        canvas.save_png(answer_pictures.draw(_read(FLAGS.image), answers, FLAGS.threshold), FLAGS.output)


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


if __name__ == "__main__":
    run()
