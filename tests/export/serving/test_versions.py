"""Which versions are loaded, and when one that could not be loaded is tried again."""

import types

import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from export.serving import versions as versions_lib
from export.serving.status import Status
from export.serving.versions import State, Versions


def versions_of(path, numbers, policy=None, broken=()):
    """`Versions` of empty directories, and the numbers that were loaded."""
    loaded = []

    def load(directory):
        number = int(directory.rsplit("/", 1)[1])
        if number in broken:
            raise OSError(f"{number} is broken")
        loaded.append(number)
        return types.SimpleNamespace(version=number, warm_up=lambda: iter([]))

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


def test_names_are_numbers_as_tf_serving_reads_them(tmp_path):
    """Zeros before a number do not matter; what only looks like a number, or is too large, is none."""
    versions, loaded = versions_of(tmp_path, ["00000005", "\u00b2", "\u0663", "-1", "1e3", str(2**63)])
    versions.update()
    assert loaded == [5] and served(versions) == [5]


def test_a_version_that_is_copied_slowly_is_served_when_it_is_whole(tmp_path):
    """Tried when its files have changed and then rest, not while they grow."""
    whole, tries = tmp_path / "1" / "whole", []

    def load(directory):
        tries.append(directory)
        if not whole.exists():
            raise OSError("not whole")
        return types.SimpleNamespace(version=1, warm_up=lambda: iter([]))

    (tmp_path / "1").mkdir()
    versions = Versions(model_server_config_pb2.ModelConfig(name="dsg", base_path=str(tmp_path)), load)
    for size in range(5):
        (tmp_path / "1" / "variables").write_bytes(bytes(size + 1))
        versions.update()
    assert len(tries) == 1 and not versions.is_ready()
    versions.update()
    versions.update()
    assert len(tries) == 2  # The files rest; without a change, not again.
    whole.write_text("")
    versions.update()
    versions.update()
    assert served(versions) == [1] and len(tries) == 3


def test_a_version_that_stays_broken_is_tried_less_and_less_often(tmp_path, monkeypatch):
    now, broken = [1000.0], {1}
    monkeypatch.setattr(versions_lib.time, "monotonic", lambda: now[0])
    versions, _ = versions_of(tmp_path, [1], broken=broken)
    tries = []
    start = versions._start
    versions._start = lambda version, path: (tries.append(now[0] - 1000), start(version, path))
    for _ in range(100):
        versions.update()
        now[0] += 1
    assert tries == [0, 5, 15, 35, 75]
    broken.clear()
    now[0] += 300
    versions.update()
    assert served(versions) == [1]


def test_the_first_version_is_served_before_all_of_it_is_warm_and_the_next_one_after(tmp_path):
    steps = []

    def warm_up(number):
        for step in range(3):
            steps.append((number, step, served(versions)))
            yield

    def load(directory):
        number = int(directory.rsplit("/", 1)[1])
        return types.SimpleNamespace(version=number, warm_up=lambda: warm_up(number))

    (tmp_path / "1").mkdir()
    versions = Versions(model_server_config_pb2.ModelConfig(name="dsg", base_path=str(tmp_path)), load)
    versions.update()
    (tmp_path / "2").mkdir()
    versions.update()
    assert steps == [(1, 0, []), (1, 1, [1]), (1, 2, [1]), (2, 0, [1]), (2, 1, [1]), (2, 2, [1])]
    assert served(versions) == [2]


def test_the_server_waits_for_a_version_or_for_none(tmp_path):
    for name, numbers in (("none", []), ("one", [1])):
        (tmp_path / name).mkdir()
        versions, _ = versions_of(tmp_path / name, numbers)
        following = versions.follow(0.01)
        assert versions.wait() == bool(numbers)
        versions.close()
        following.join(30)
        assert not following.is_alive()
