"""Errors as sentences: TensorFlow's without what surrounds them, and which errors a user can do something about."""

import pytest
import tensorflow as tf

from dsg_tf.process import error_sentences
from dsg_tf.training.nonfinite import NonFiniteError

NOT_AN_IMAGE = "Unknown image file format. One of JPEG, PNG, GIF, BMP, WebP required."


def sentence_of(function) -> str:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        function()
    assert error_sentences.is_for_users(caught.value)
    return error_sentences.sentence(caught.value)


def refuse(number, shown=None):
    """As the checks inside graphs do: some of the values are texts, some are tensors."""
    shown = number if shown is None else shown
    with tf.control_dependencies([tf.debugging.Assert(number < 0, ["image", "a [1].png", "has", shown, "boxes"])]):
        return tf.identity(number)


def test_a_failed_check_of_a_graph_is_what_it_says():
    graph = tf.function(refuse, autograph=False)
    assert sentence_of(lambda: graph(tf.constant(5))) == "image a [1].png has 5 boxes"


def test_a_failed_check_of_the_input_is_what_it_says():
    numbers = tf.data.Dataset.range(5, 8)
    assert sentence_of(lambda: list(numbers.map(refuse))) == "image a [1].png has 5 boxes"
    in_rows = numbers.map(lambda number: refuse(number, shown=tf.fill([2, 4], number)))
    assert sentence_of(lambda: list(in_rows)) == "image a [1].png has [5 5 5...]... boxes"


def test_the_failed_check_of_a_server_is_what_it_says():
    message = "assertion failed: [query 0 of image 1: unknown subject 'zebra']\n\t [[{{node words/Assert/Assert}}]]"
    for end in ("", " [Op:__inference_refer_7]"):
        assert error_sentences.plain(message + end) == "query 0 of image 1: unknown subject 'zebra'"


def test_the_error_of_an_operation_is_told_without_its_name():
    decode = tf.function(lambda encoded: tf.io.decode_image(encoded), autograph=False)
    images = tf.data.Dataset.from_tensors(b"no image")
    assert sentence_of(lambda: tf.io.decode_image(b"no image")) == NOT_AN_IMAGE
    assert sentence_of(lambda: decode(b"no image")) == NOT_AN_IMAGE
    assert sentence_of(lambda: list(images.map(decode))) == NOT_AN_IMAGE
    assert sentence_of(lambda: list(images.map(decode, tf.data.AUTOTUNE).prefetch(1))) == NOT_AN_IMAGE


def test_the_message_of_any_other_error_stays_as_it_is():
    assert error_sentences.sentence(ValueError("--seed=-1 must be [at least] 0")) == "--seed=-1 must be [at least] 0"
    assert error_sentences.sentence(FileNotFoundError(2, "not there", "a.png")) == "[Errno 2] not there: 'a.png'"


@pytest.mark.parametrize(
    "error, expected",
    [
        (ValueError("a bad value"), True),
        (FileNotFoundError("a.png"), True),
        (NonFiniteError("the loss is nan"), True),
        (tf.errors.DataLossError(None, None, "corrupted record"), True),
        (TypeError("a bug"), False),
        (KeyError("a bug"), False),
        (AssertionError("a bug"), False),
        (RuntimeError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_for_users_are_told_from_those_for_programmers(error, expected):
    assert error_sentences.is_for_users(error) == expected


FAILED = "assertion failed: [query 1 of image 0: unknown object: zebra]"


@pytest.mark.parametrize(
    "message",
    [
        FAILED,
        f"{FAILED}\n\t [[{{{{node Assert/Assert}}}}]]",
        f"2 root error(s) found.\n  (0) INVALID_ARGUMENT: {FAILED}\n\t [[{{{{node a}}}}]]\n\t [[b/_1]]\n"
        f"  (1) INVALID_ARGUMENT: {FAILED}\n\t [[{{{{node a}}}}]]\n0 successful operations.",
    ],
)
def test_the_sentence_of_a_check_in_the_graph(message):
    assert error_sentences.plain(message) == "query 1 of image 0: unknown object: zebra"
    assert error_sentences.plain("something else") == "something else"
