"""Runs a function over pieces of work on Apache Beam: the function and the pieces that `workers.Local` takes.

All machines must see the input and the output under the same paths, and have this package: a runner's own options say
how, for example `--setup_file=./setup.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pickle
import shlex
from collections.abc import Callable, Iterable, Sequence

from absl import app, flags

from dsg_tf.process import error_sentences, files
from dsg_tf.process.progress import Progress
from dsg_tf.process.workers import SomePiece


@dataclasses.dataclass(frozen=True)
class Beam:
    """A runner of Apache Beam.

    Attributes:
      runner: its name, "DirectRunner", "FlinkRunner", "SparkRunner" ...
      options: more of Beam's options, as on a command line.

    Raises:
      ValueError: Beam is not installed, or has no such runner.
      SystemExit: from Beam, after a message, for an option with a wrong value.
    """

    runner: str
    options: str = ""

    def __post_init__(self):
        _import_beam(self.runner).runners.create_runner(self.runner)
        self._pipeline_options()

    def run(self, function: Callable[[SomePiece], None], pieces: Sequence[SomePiece], what: str) -> None:
        """As `workers.Local.run`; the progress counts whole pieces.

        Raises:
          ValueError: what a worker said to users; runners make of it what they like.
        """
        if not pieces:
            return
        paths = [os.path.splitext(piece.path)[0] + ".piece" for piece in pieces]
        done = lambda: sum(len(piece) for piece in pieces if os.path.exists(piece.path))
        _remove(map(_error_path, paths))
        try:
            # A pipeline's description goes through the runner's API, which may take only a few MB: so it has the names
            # of files, and each worker reads its own pieces.
            for piece, path in zip(pieces, paths):
                with files.atomic(path) as temporary, open(temporary, "wb") as file:
                    pickle.dump(piece, file)
            with Progress(what, sum(map(len, pieces)), done):
                self._run_pipeline(functools.partial(_run_piece, function), paths)
        except Exception as error:
            told = next(filter(os.path.exists, map(_error_path, paths)), None)
            if told is None:
                raise
            with open(told, encoding="utf-8") as file:
                raise ValueError(file.read()) from error
        finally:
            _remove([*paths, *map(_error_path, paths)])

    def _run_pipeline(self, function: Callable[[str], None], paths: list[str]) -> None:
        beam = _import_beam(self.runner)
        with beam.Pipeline(options=self._pipeline_options()) as pipeline:
            # Reshuffled, or one worker would go through all pieces.
            _ = pipeline | "Pieces" >> beam.Create(paths) | beam.Reshuffle() | "Write" >> beam.Map(function)

    def _pipeline_options(self):
        beam = _import_beam(self.runner)
        options = beam.options.pipeline_options.PipelineOptions([f"--runner={self.runner}", *shlex.split(self.options)])
        options.get_all_options()  # Beam looks at them only now.
        return options


def define_flags(values: flags.FlagValues) -> None:
    """--runner and --beam_options."""
    flags.DEFINE_string(
        "runner",
        None,
        "runner of Apache Beam, as DirectRunner or FlinkRunner; by default this machine works, without Beam",
        flag_values=values,
    )
    flags.DEFINE_string(
        "beam_options",
        "",
        'with --runner, more options for Beam, as "--flink_master=host:8081 --parallelism=64"',
        flag_values=values,
    )


def from_flags(values: flags.FlagValues) -> Beam | None:
    """What the flags ask for: None for this machine.

    Raises:
      UsageError: there are options without a runner, or there is no such runner or no Beam.
    """
    if values.beam_options and not values.runner:
        raise app.UsageError(f"--beam_options={values.beam_options} has no effect without --runner")
    try:
        return Beam(values.runner, values.beam_options) if values.runner else None
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def _run_piece(function: Callable, path: str) -> None:
    with open(path, "rb") as file:
        piece = pickle.load(file)
    try:
        function(piece)
    except Exception as error:
        if error_sentences.is_for_users(error):
            files.write_text(_error_path(path), error_sentences.sentence(error))
        raise


def _error_path(path: str) -> str:
    """Where a worker says what is wrong with a piece."""
    return f"{path}.error"


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _import_beam(runner: str):
    try:
        import apache_beam
    except ImportError as error:
        raise ValueError(
            f"--runner={runner} needs Apache Beam ({error}): pip install -e '.[beam]', Python 3.10 or newer"
        ) from error
    return apache_beam
