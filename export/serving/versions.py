"""Which versions of the model are loaded: follows the directories that appear, without a gap between two versions."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator, Mapping

from absl import logging
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from dsg_tf.process import files
from export.serving.servable import Servable
from export.serving.status import Status

State = get_model_status_pb2.ModelVersionStatus.State
# Seconds after which a version that could not be loaded is tried again: the first time, and at most.
_RETRY, _LONGEST_RETRY = 5.0, 300.0


@dataclasses.dataclass(frozen=True)
class Condition:
    """What has become of a version, as GetModelStatus reports it."""

    state: int
    error: str = ""


@dataclasses.dataclass
class _Failure:
    """A version that could not be loaded, perhaps since it is still being copied.

    Attributes:
      files: names, sizes and times of its files when it failed, or when they were last looked at.
      changed: whether they have changed since it failed.
      pause: seconds until the next try, should they not change.
      next_try: `time.monotonic`.
    """

    files: tuple
    changed: bool
    pause: float
    next_try: float

    def is_due(self, files: tuple) -> bool:
        """Whether to try again: the files have changed and now rest, or it has been long enough."""
        rest, self.files = files == self.files, files
        self.changed |= not rest
        return (self.changed and rest) or time.monotonic() >= self.next_try


class Versions:
    """The loaded versions of one model.

    Args:
      config: name, base path, version policy and labels, as TF Serving's model config file has them. Without a policy
        the newest version is served.
      load: makes a `Servable` of a version's directory.

    Raises:
      ValueError: the base path does not exist.
    """

    def __init__(self, config: model_server_config_pb2.ModelConfig, load=Servable):
        if not os.path.isdir(config.base_path):
            raise ValueError(f"{config.base_path} is not a directory of exported versions")
        self._config, self._load = config, load
        self._served: dict[int, Servable] = {}
        self._conditions: dict[int, Condition] = {}
        self._failures: dict[int, _Failure] = {}
        self._updating = threading.Lock()
        self._looked, self._closing = threading.Event(), threading.Event()

    @property
    def name(self) -> str:
        return self._config.name

    def update(self) -> None:
        """Loads the versions that the policy asks for, then lets go of those that it does not ask for any more.

        A version that fails to load is reported, and tried again: when its files have changed and then rest from one
        update to the next, and now and then, less and less often. The versions before it go on to serve.
        """
        with self._updating:
            wanted = _wanted(self._config)
            self._load_all(wanted)
            self._keep_only(wanted)

    def follow(self, seconds: float) -> threading.Thread:
        """Updates now and at this interval, in a thread of its own, until `close`."""

        def work():
            while not self._closing.is_set():
                try:
                    self.update()
                except OSError as error:  # A directory server that is away for a moment; what is loaded goes on.
                    logging.error("%s: %s", self._config.base_path, error)
                self._looked.set()
                self._closing.wait(seconds)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def wait(self) -> bool:
        """Returns when a version is served, or all have been tried: whether there is one."""
        self._looked.wait()
        return self.is_ready()

    def close(self) -> None:
        """Ends `follow`."""
        self._closing.set()

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Takes another configuration of the same model, as HandleReloadConfigRequest brings it.

        Raises:
          Status: INVALID_ARGUMENT: not exactly one configuration, of this model and its directory; or a label of a
            version that is not loaded. Then nothing has changed.
        """
        models = config.model_config_list.config
        if len(models) != 1 or models[0].name != self.name:
            raise Status(
                "INVALID_ARGUMENT",
                f"this server serves the one model {self.name}, not "
                f"{', '.join(model.name for model in models) or 'none'}",
            )
        new = models[0]
        if new.base_path != self._config.base_path:
            raise Status(
                "INVALID_ARGUMENT",
                f"base_path={new.base_path} is not {self._config.base_path}, where this server began",
            )
        with self._updating:
            wanted = _wanted(new)
            self._load_all(wanted)
            for label, version in new.version_labels.items():
                if version not in wanted or version not in self._served:
                    # Nothing has been taken away yet; what was loaded for this goes with the next update.
                    raise Status("INVALID_ARGUMENT", f"label {label}: version {version} is not available")
            self._config = new
            self._keep_only(wanted)

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The version that a request asks for: by number, by label, or the newest.

        Raises:
          Status: NOT_FOUND: it is not served; INVALID_ARGUMENT: no such label.
        """
        if not spec.name:
            raise Status("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        served, which = self._served, spec.WhichOneof("version_choice")
        request = f"Latest({spec.name[:100]})"
        version = max(served, default=-1)
        if which == "version":
            version, request = spec.version.value, f"Specific({spec.name[:100]}, {spec.version.value})"
        elif which == "version_label":
            labels: Mapping[str, int] = self._config.version_labels
            if spec.version_label not in labels:
                raise Status("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label[:100]}")
            version = labels[spec.version_label]
        if spec.name != self.name or version not in served:
            raise Status("NOT_FOUND", f"Servable not found for request: {request}")
        return served[version]

    def conditions(self, spec: model_pb2.ModelSpec) -> dict[int, Condition]:
        """The state of all versions, or of the number asked for; the newest first. Labels say nothing here.

        Raises:
          Status: NOT_FOUND.
        """
        name = spec.name[:100]
        found = dict(sorted(self._conditions.items(), reverse=True)) if spec.name == self.name else {}
        if spec.WhichOneof("version_choice") == "version":
            number = spec.version.value
            if number not in found:
                raise Status("NOT_FOUND", f"Could not find version {number} of model {name}")
            return {number: found[number]}
        if not found:
            raise Status("NOT_FOUND", f"Could not find any versions of model {name}")
        return found

    def is_ready(self) -> bool:
        """Whether some version is served."""
        return bool(self._served)

    def snapshot(self) -> dict[int, Condition]:
        """The state of all versions."""
        return dict(self._conditions)

    def _load_all(self, wanted: Mapping[int, str]) -> None:
        for version, path in wanted.items():
            if version in self._served:
                continue
            failure = self._failures.get(version)
            if failure is None or failure.is_due(_files(path)):
                self._start(version, path)

    def _keep_only(self, wanted: Mapping[int, str]) -> None:
        # What is served goes on while nothing else is there to serve in its place.
        if any(version in self._served for version in wanted):
            for version in sorted(set(self._served) - set(wanted)):
                self._stop(version)
        for version in set(self._failures) - set(wanted):
            del self._failures[version]
            del self._conditions[version]

    def _start(self, version: int, path: str) -> None:
        there = _files(path)
        self._conditions[version] = Condition(State.LOADING)
        try:
            servable = self._load(path)
            warming_up = servable.warm_up()
            next(warming_up, None)
            if self._served:  # Else nobody waits for the rest of it: some calls would be slow, now there would be none.
                _finish(warming_up)
        except Exception as error:
            # Whatever is wrong with a new version, the server and the versions before it go on; the status tells.
            self._conditions[version] = Condition(State.END, f"{type(error).__name__}: {error}")
            before = self._failures.get(version)
            pause = min(2 * before.pause, _LONGEST_RETRY) if before else _RETRY
            self._failures[version] = _Failure(there, False, pause, time.monotonic() + pause)
            logging.error("%s: version %d cannot be loaded: %s", self.name, version, error, exc_info=before is None)
            return
        self._failures.pop(version, None)
        self._served = {**self._served, version: servable}
        self._conditions[version] = Condition(State.AVAILABLE)
        logging.info("%s: version %d is served", self.name, version)
        self._looked.set()
        try:
            _finish(warming_up)
        except Exception:
            # Some signature does not work; the others do, and nothing else is there.
            logging.exception("%s: version %d is served, but not whole", self.name, version)

    def _stop(self, version: int) -> None:
        # Requests under way hold on to the version they began with.
        self._served = {v: servable for v, servable in self._served.items() if v != version}
        self._conditions[version] = Condition(State.END)
        logging.info("%s: version %d is not served any more", self.name, version)


def _finish(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def _wanted(config: model_server_config_pb2.ModelConfig) -> dict[int, str]:
    """Versions that the policy asks for, of those that are there, and their directories."""
    path, policy = config.base_path, config.model_version_policy
    there = {}
    for name in sorted(os.listdir(path), reverse=True):  # Of 5 and 005 the former counts.
        if files.is_version(name) and os.path.isdir(os.path.join(path, name)):
            there[int(name)] = os.path.join(path, name)
    there = dict(sorted(there.items()))
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return there
    if kind == "specific":
        return {version: path for version, path in there.items() if version in policy.specific.versions}
    newest = list(there)[-max(policy.latest.num_versions, 1) :]
    return {version: there[version] for version in newest}


def _files(path: str) -> tuple:
    """Names, sizes and times of all files below a directory; of what goes away meanwhile, nothing."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            try:
                about = os.stat(file)
            except FileNotFoundError:
                continue
            found.append((file, about.st_size, about.st_mtime_ns))
    return tuple(sorted(found))
