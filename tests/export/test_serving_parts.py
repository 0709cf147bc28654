"""The server's parts alone: slots, batches, versions."""

import concurrent.futures
import threading
import time
import types

import numpy as np
import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from dsg_tf.process.error_sentences import plain
from export.serving.batching import Batcher
from export.serving.limits import Limits, Slots
from export.serving.servable import Call
from export.serving.status import Status
from export.serving.versions import State, Versions


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

    def call(self, words, signature="echo"):
        return Call(self, signature, {"words": np.array(words, object)}, ("words",))


def test_calls_that_wait_share_a_batch_and_get_their_own_rows():
    model = Model(threading.Semaphore(0))
    batcher = Batcher(Limits(images=4, queries=12), workers=1)
    first = batcher.submit(model.call([[b"first"]]))
    assert model.entered.acquire(timeout=30)  # The worker is busy: all that follow wait.
    rows = [[[b"a", b"b", b"c"]], [[b"d"]], [[b"e"], [b"f"]], [[b"too many"]], [[b"g"]]]
    answers = [batcher.submit(model.call(row)) for row in rows[:-1]]
    answers.append(batcher.submit(model.call(rows[-1], "other")))
    for _ in range(4):
        model.gate.release()
    for answer, row in zip([first, *answers], [[[b"first"]], *rows]):
        np.testing.assert_array_equal(answer.result(30)["words"], np.array(row, object))
    # Four images are a batch, padded to three queries; the fifth and the other signature run alone.
    assert model.shapes == [(1, 1), (4, 3), (1, 1), (1, 1)]
    batcher.close()


@pytest.mark.parametrize("batching, shapes", [(True, [(1, 1), (2, 1)]), (False, [(1, 1), (1, 1), (1, 1)])])
def test_batching_can_be_switched_off(batching, shapes):
    model = Model(threading.Semaphore(0))
    batcher = Batcher(Limits(), workers=1, batching=batching)
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
    batcher = Batcher(Limits(), workers=1)
    answers = [batcher.submit(model.call([[word]])) for word in (b"hold", b"good", b"bad", b"bug", b"fine")]
    for _ in range(10):
        model.gate.release()
    assert [answers[k].result(30)["words"].item() for k in (0, 1, 4)] == [b"hold", b"good", b"fine"]
    assert answers[2].exception(30).code == "INVALID_ARGUMENT"
    fault = answers[3].exception(30)
    assert fault.code == "INTERNAL" and "ZeroDivisionError" in fault.message
    assert batcher.submit(model.call([[b"after"]])).result(30)  # The thread lives.
    batcher.close()


def test_calls_that_nobody_waits_for_do_not_run():
    model = Model(threading.Semaphore(0))
    batcher = Batcher(Limits(), workers=1, batching=False)
    running = batcher.submit(model.call([[b"running"]]))
    assert model.entered.acquire(timeout=30)
    cancelled, late = batcher.submit(model.call([[b"c"]])), batcher.submit(model.call([[b"l"]]), time.monotonic() - 1)
    assert cancelled.cancel()
    model.gate.release()
    assert running.result(30) and late.exception(30).code == "DEADLINE_EXCEEDED"
    batcher.close()
    assert len(model.shapes) == 1


def test_close_answers_what_waits():
    model = Model()
    batcher = Batcher(Limits(), workers=2)
    answers = [batcher.submit(model.call([[b"x"]])) for _ in range(20)]
    batcher.close()
    assert all(answer.done() for answer in answers)


def test_slots_refuse_the_next_one_and_close_waits_for_the_last():
    refusals = []
    slots, entered, leave = Slots(1, refusals.append), threading.Event(), threading.Event()

    def stay():
        with slots.one():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(30)
    with pytest.raises(Status, match="1 requests are already") as caught, slots.one():
        pass
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    start = time.monotonic()
    slots.close(0.2)
    assert time.monotonic() - start >= 0.2 and thread.is_alive()
    leave.set()
    slots.close(30)
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(Status, match="stopping") as caught, slots.one():
        pass
    assert caught.value.code == "UNAVAILABLE" and refusals == ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]


def versions_of(path, numbers, policy=None, broken=()):
    """`Versions` of empty directories, and the numbers that were loaded."""
    loaded = []

    def load(directory):
        number = int(directory.rsplit("/", 1)[1])
        if number in broken:
            raise OSError(f"{number} is broken")
        loaded.append(number)
        return types.SimpleNamespace(version=number, warm_up=lambda: None)

    for number in numbers:
        (path / str(number)).mkdir(parents=True)
    config = model_server_config_pb2.ModelConfig(name="dsg", base_path=str(path))
    if policy:
        policy(config.model_version_policy)
    return Versions(config, load), loaded


def served(versions):
    return [
        version
        for version, condition in versions.conditions(model_pb2.ModelSpec(name="dsg")).items()
        if condition.state == State.AVAILABLE
    ]


@pytest.mark.parametrize(
    "policy, expected",
    [
        (None, [12]),
        (lambda p: p.latest.SetInParent(), [12]),
        (lambda p: setattr(p.latest, "num_versions", 2), [12, 3]),
        (lambda p: p.all.SetInParent(), [12, 3, 1]),
        (lambda p: p.specific.versions.extend([1, 7]), [1]),
    ],
)
def test_version_policies(tmp_path, policy, expected):
    (tmp_path / ".writing-9").mkdir()
    (tmp_path / "7").write_text("not a directory")
    versions, loaded = versions_of(tmp_path, [1, 3, 12], policy)
    versions.update()
    assert served(versions) == expected and sorted(loaded, reverse=True) == expected
    versions.update()
    assert sorted(loaded, reverse=True) == expected  # Nothing is loaded twice.


def test_a_broken_version_does_not_take_the_old_one_away_and_may_be_repaired(tmp_path):
    broken = {2}
    versions, _ = versions_of(tmp_path, [1], broken=broken)
    versions.update()
    (tmp_path / "2").mkdir()
    versions.update()
    spec = model_pb2.ModelSpec(name="dsg")
    assert served(versions) == [1] and versions.find(spec).version == 1
    assert "2 is broken" in versions.conditions(spec)[2].error
    (tmp_path / "2").rmdir()
    versions.update()
    broken.clear()
    (tmp_path / "2").mkdir()
    versions.update()
    assert served(versions) == [2] and versions.find(spec).version == 2
    (tmp_path / "2").rmdir()  # A rollback.
    versions.update()
    assert served(versions) == [1]


def test_a_refused_reload_takes_nothing_away(tmp_path):
    versions, loaded = versions_of(tmp_path, [1, 2], lambda p: p.specific.versions.append(1))
    versions.update()
    before = versions.find(model_pb2.ModelSpec(name="dsg"))
    new = model_server_config_pb2.ModelServerConfig()
    model = new.model_config_list.config.add(name="dsg", base_path=str(tmp_path))
    model.version_labels["stable"] = 1  # Which the newest version, 2, is not.
    with pytest.raises(Status, match="label stable: version 1 is not available"):
        versions.reload(new)
    assert 1 in served(versions)
    versions.update()
    assert served(versions) == [1] and versions.find(model_pb2.ModelSpec(name="dsg")) is before
    assert loaded == [1, 2]  # 1 was not loaded again: it was never gone.
    model.version_labels["stable"] = 2
    versions.reload(new)
    assert (
        served(versions) == [2] and versions.find(model_pb2.ModelSpec(name="dsg", version_label="stable")).version == 2
    )


def test_a_server_needs_its_directory(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a directory of exported versions"):
        Versions(model_server_config_pb2.ModelConfig(name="dsg", base_path=str(tmp_path / "nowhere")))


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
    assert plain(message) == "query 1 of image 0: unknown object: zebra"
    assert plain("something else") == "something else"
