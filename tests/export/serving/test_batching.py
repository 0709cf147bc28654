"""Batches, turns, and whose fault is whose."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest

from export.serving.batching import Batcher
from export.serving.call import Call, joined
from export.serving.limits import Limits
from export.serving.monitoring import Monitoring
from export.serving.status import Status


class Model:
    """Repeats its input; waits at ``gate``, and keeps the shapes of what it ran."""

    ragged_inputs = ragged_outputs = {"echo": ["words"], "other": []}

    def __init__(self, gate=None):
        self.gate, self.shapes, self.entered = gate, [], threading.Semaphore(0)

    def run(self, call):
        self.entered.release()
        if self.gate:
            assert self.gate.acquire(timeout=30)
        self.shapes.append(call.inputs["words"].shape)
        if b"bad" in call.inputs["words"]:
            raise Status("INVALID_ARGUMENT", "bad")
        if b"bug" in call.inputs["words"]:
            raise ZeroDivisionError("bug")
        return dict(call.inputs)

    def call(self, words, signature="echo", pixels=None):
        pixels = (1,) * len(words) if pixels is None else pixels
        return Call(self, signature, {"words": np.array(words, object)}, ("words",), pixels)


def batcher_of(workers=1, batching=True, **limits):
    return Batcher(Limits(**limits), Monitoring(), workers, batching)


def words_of(answer):
    return answer.result(30).outputs["words"]


def test_calls_that_wait_share_a_batch_and_get_their_own_rows():
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(batch_images=4, queries=12)
    first = batcher.submit(model.call([[b"first"]]))
    assert model.entered.acquire(timeout=30)  # The worker is busy: all that follow wait.
    rows = [[[b"a", b"b", b"c"]], [[b"d"]], [[b"e"], [b"f"]], [[b"too many"]], [[b"g"]]]
    answers = [batcher.submit(model.call(row)) for row in rows[:-1]]
    answers.append(batcher.submit(model.call(rows[-1], "other")))
    for _ in range(4):
        model.gate.release()
    for answer, row in zip([first, *answers], [[[b"first"]], *rows]):
        np.testing.assert_array_equal(words_of(answer), np.array(row, object))
    # Four images are a batch, padded to three queries; the fifth and the other signature run alone.
    assert model.shapes == [(1, 1), (4, 3), (1, 1), (1, 1)]
    batcher.close()


@pytest.mark.parametrize("batching, shapes", [(True, [(1, 1), (2, 1)]), (False, [(1, 1), (1, 1), (1, 1)])])
def test_batching_can_be_switched_off(batching, shapes):
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(batching=batching)
    answers = [batcher.submit(model.call([[b"x"]]))]
    assert model.entered.acquire(timeout=30)
    answers += [batcher.submit(model.call([[b"x"]])) for _ in range(2)]
    for _ in range(3):
        model.gate.release()
    concurrent.futures.wait(answers, 30)
    assert model.shapes == shapes
    batcher.close()


def test_one_fault_of_a_batch_is_one_callers_fault():
    model = Model(threading.Semaphore(0))
    batcher = batcher_of()
    answers = [batcher.submit(model.call([[word]])) for word in (b"hold", b"good", b"bad", b"bug", b"fine")]
    for _ in range(10):
        model.gate.release()
    assert [words_of(answers[k]).item() for k in (0, 1, 4)] == [b"hold", b"good", b"fine"]
    assert answers[2].exception(30).code == "INVALID_ARGUMENT"
    fault = answers[3].exception(30)
    assert fault.code == "INTERNAL" and "ZeroDivisionError" in fault.message
    assert batcher.submit(model.call([[b"after"]])).result(30)  # The thread lives.
    batcher.close()


def test_calls_that_nobody_waits_for_do_not_run():
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(batching=False)
    running = batcher.submit(model.call([[b"running"]]))
    assert model.entered.acquire(timeout=30)
    cancelled, late = (
        batcher.submit(model.call([[b"c"]])),
        batcher.submit(model.call([[b"l"]]), deadline=time.monotonic() - 1),
    )
    assert cancelled.cancel()
    model.gate.release()
    assert running.result(30) and late.exception(30).code == "DEADLINE_EXCEEDED"
    batcher.close()
    assert len(model.shapes) == 1


def test_close_answers_what_waits():
    model = Model()
    batcher = batcher_of(workers=2)
    answers = [batcher.submit(model.call([[b"x"]])) for _ in range(20)]
    batcher.close()
    assert all(answer.done() for answer in answers)


def test_everybody_has_a_turn():
    """One peer asks much before another asks once: the other waits for one batch, not for all."""
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(batch_images=2)
    running = batcher.submit(model.call([[b"running"]]), "much")
    assert model.entered.acquire(timeout=30)
    much = [batcher.submit(model.call([[b"much"]] * 2), "much") for _ in range(5)]
    little = batcher.submit(model.call([[b"little"]] * 2), "little")
    for _ in range(3):
        model.gate.release()
    assert words_of(little).shape == (2, 1) and words_of(running).shape == (1, 1)
    assert [answer.done() for answer in much] == [True, False, False, False, False]
    for _ in range(4):
        model.gate.release()
    concurrent.futures.wait(much, 30)
    batcher.close()


@pytest.mark.parametrize("row, others", [(2, [0, 3]), (0, [2, 3])])
def test_a_fault_that_names_its_row_costs_the_others_one_run(row, others):
    """The message of the request names the row as the request counts, not as the batch."""
    names = {0: b"a", 2: b"b", 3: b"c"}  # First rows of calls with 2, 1 and 1 images.

    class Graph(Model):
        def run(self, call):
            self.entered.release()
            assert self.gate.acquire(timeout=30)
            self.shapes.append(call.inputs["words"].shape)
            wrong = np.flatnonzero(call.inputs["words"][:, 0] == b"wrong")
            if len(wrong):
                raise Status("INVALID_ARGUMENT", f"image {wrong[0]} of the batch is damaged")
            return dict(call.inputs)

    model = Graph(threading.Semaphore(0))
    batcher = batcher_of(batch_images=4)
    first = batcher.submit(model.call([[b"first"]]))
    assert model.entered.acquire(timeout=30)
    rows = {start: [[name]] * (2 if start == 0 else 1) for start, name in names.items()}
    rows[row][-1] = [b"wrong"]
    answers = {start: batcher.submit(model.call(words), row=10) for start, words in rows.items()}
    for _ in range(3):
        model.gate.release()
    within = len(rows[row]) - 1
    assert answers[row].exception(30).message == f"image {10 + within} of the batch is damaged"
    assert all(words_of(answers[start])[0, 0] == names[start] for start in others) and words_of(first).size
    assert model.shapes == [(1, 1), (4, 1), (4 - len(rows[row]), 1)]
    batcher.close()


def test_pictures_are_not_decoded_all_at_the_same_time():
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(workers=2, pixels=100)
    answers = [batcher.submit(model.call([[b"x"]], pixels=(60,)), str(k)) for k in range(3)]
    assert model.entered.acquire(timeout=30)
    assert not model.entered.acquire(timeout=0.3)  # The second worker is free, and waits.
    small = batcher.submit(model.call([[b"x"]], pixels=(10,)), "small")
    for _ in range(4):
        model.gate.release()
    concurrent.futures.wait([*answers, small], 30)
    assert all(answer.done() for answer in [*answers, small])
    batcher.close()


def test_large_files_do_not_run_all_at_the_same_time():
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(workers=2, message_bytes=100)

    def call(size):
        words = np.array([[b"x"]], object)
        return Call(model, "echo", {"words": words, "image": np.array([bytes(size)], object)}, ("words",), (1,))

    answers = [batcher.submit(call(60), str(k)) for k in range(3)]
    assert model.entered.acquire(timeout=30)
    assert not model.entered.acquire(timeout=0.3)
    for _ in range(3):
        model.gate.release()
    concurrent.futures.wait(answers, 30)
    assert model.shapes == [(1, 1)] * 3
    batcher.close()


def test_a_request_is_cut_into_pieces_and_joined_again():
    model = Model()
    call = model.call([[b"%d" % k] for k in range(6)], pixels=(10, 10, 90, 5, 5, 5))
    pieces = call.pieces(images=3, pixels=60)
    assert [piece.pixels for piece in pieces] == [(10, 10), (90,), (5, 5, 5)]
    results = [model.run(piece) for piece in pieces]
    np.testing.assert_array_equal(joined(results)["words"], call.inputs["words"])


def test_states_of_images_run_together_in_larger_numbers_than_pictures():
    limits = Limits(images=16, batch_images=4)
    assert limits.together(has_pictures=True) == 4 and limits.together(has_pictures=False) == 16
    model = Model(threading.Semaphore(0))
    batcher = batcher_of(images=3, batch_images=1)
    first = batcher.submit(model.call([[b"first"]], pixels=()))
    assert model.entered.acquire(timeout=30)
    answers = [batcher.submit(model.call([[b"x"]], pixels=())) for _ in range(3)]
    answers += [batcher.submit(model.call([[b"picture"]])) for _ in range(2)]
    for _ in range(4):
        model.gate.release()
    concurrent.futures.wait([first, *answers], 30)
    assert model.shapes == [(1, 1), (3, 1), (1, 1), (1, 1)]
    batcher.close()
