"""Batches as TF Serving makes them of requests (paths are those of its source), asked of the exported model."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_data


@pytest.fixture(scope="module")
def refer(exported):
    function = tf.saved_model.load(exported).signatures["refer"]
    return lambda **inputs: {
        name: value.numpy()
        for name, value in function(**{name: tf.constant(value) for name, value in inputs.items()}).items()
    }


def request(images, queries):
    """``images``: pictures of the data; the same ``queries`` for each."""
    columns = {
        role: np.array([[query[k] for query in queries]] * len(images), object)
        for k, role in enumerate(("subject", "relation", "object"))
    }
    return {"image": np.array([tiny_data.draw("val", k).image for k in images], object), **columns}


def merged(requests):
    """One batch as batching/batching_session.cc makes it: dimension 0 joined, the others padded at their end.

    The padding is the first element of the request's own tensor (`PadTensor` in batching/batching_util.cc).
    """

    def padded(tensor, shape):
        widths = [(0, 0)] + [(0, size - own) for own, size in zip(tensor.shape[1:], shape)]
        return np.pad(tensor, widths, constant_values=tensor.flat[0])

    shapes = {name: np.max([one[name].shape[1:] for one in requests], axis=0) for name in requests[0]}
    return {name: np.concatenate([padded(one[name], shape) for one in requests]) for name, shape in shapes.items()}


def test_requests_that_share_a_batch_get_their_own_answers(refer):
    few = request([0, 1], [("blue disc", "above", "red disc")])
    many = request([2], [("red square", "left", "blue disc"), ("", "", ""), ("red disc", "below", "red disc")])
    together = refer(**merged([few, many]))
    for part, alone in ((slice(0, 2), refer(**few)), (slice(2, 3), refer(**many))):
        for name, value in alone.items():
            shared = together[name][part]
            if value.ndim > 1 and name not in ("boxes", "valid"):
                shared = shared[:, : value.shape[1]]  # TF Serving does not cut the answers: the client does.
            np.testing.assert_allclose(shared, value, atol=1e-3 if "box" in name else 1e-5, err_msg=name)
    # What is cut off are answers to the request's first query once more: it is never an unknown word.
    for name in ("subject_mask", "subject_scores", "role_probabilities"):
        np.testing.assert_allclose(together[name][:2, 2], together[name][:2, 0], atol=1e-6)


def test_a_wrong_word_is_an_error_for_the_whole_batch(refer):
    good = request([0], [("red square", "left", "blue disc")])
    bad = request([1], [("red square", "left", "zebra")])
    with pytest.raises(tf.errors.InvalidArgumentError, match="query 0 of image 1: unknown object: zebra"):
        refer(**merged([good, bad]))
