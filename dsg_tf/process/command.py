"""How every command runs: its flags first, then TensorFlow, and an end with a sentence instead of a stack trace."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags

from dsg_tf.process import environment, error_sentences, stopping

FLAGS = flags.FLAGS


def run(
    name: str,
    define_flags: Callable[[flags.FlagValues], None],
    main: Callable[[], None],
    *,
    usage: str | None = None,
    batches: Callable[[], bool] = lambda: True,
    stoppable: bool = True,
    take_arguments: Callable[[Sequence[str], flags.FlagValues], None] | None = None,
) -> None:
    """Runs a command, from its flags to the exit of the process.

    Args:
      name: of the command; begins each of its error messages, unless it was called by its installed name, dsg-NAME.
      define_flags: defines its flags; `--debug` is added.
      main: its work, which imports TensorFlow: not before the flags are known to be right.
      usage: what --help says of the command; by default the docstring of the module that runs.
      batches: whether it works on batches of images, see `environment.prepare`; called when the flags are there.
      stoppable: SIGTERM and Ctrl-C raise `stopping.Stopped` in `main`; else they do what `main` makes of them.
      take_arguments: gives flags the values of arguments without a flag; None: there are none.
    """
    called = os.path.basename(sys.argv[0])
    name = called if called.startswith("dsg-") else name
    of_libraries = set(FLAGS)
    define_flags(FLAGS)
    flags.DEFINE_boolean(
        "debug", False, "show the stack trace of an error, and what TensorFlow says", flag_values=FLAGS
    )
    if usage is not None:
        sys.modules["__main__"].__doc__ = usage
    for flag in sorted(set(FLAGS) - of_libraries):
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[flag])  # So that --help lists them, whoever defined them.

    def run_main(argv):
        if take_arguments is not None:
            take_arguments(argv[1:], FLAGS)
        elif len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {argv[1:]}")
        environment.prepare(batches=batches(), debug=FLAGS.debug)
        if stoppable:
            stopping.install()
        with ending(name, FLAGS.debug):
            main()

    app.run(run_main)


@contextlib.contextmanager
def ending(name: str, debug: bool) -> Iterator[None]:
    """Ends the process with a sentence on an error that a user can do something about, or where a stop was asked for.

    Args:
      name: begins the sentence.
      debug: let errors through.
    """
    try:
        yield
    except stopping.Stopped as stopped:
        print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if debug or not error_sentences.is_for_users(error):
            raise
        sys.exit(f"{name}: {error_sentences.sentence(error)}")
