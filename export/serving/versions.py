"""Which versions of the model are loaded: follows the directories that appear, without a gap between two versions."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping

from absl import logging
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from export.serving.servable import Servable
from export.serving.status import Status

State = get_model_status_pb2.ModelVersionStatus.State


@dataclasses.dataclass(frozen=True)
class Condition:
    """What has become of a version, as GetModelStatus reports it."""

    state: int
    error: str = ""


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
        self._updating, self._closing = threading.Lock(), threading.Event()

    @property
    def name(self) -> str:
        return self._config.name

    def update(self) -> None:
        """Loads the versions that the policy asks for, then lets go of those that it does not ask for any more.

        A version that fails to load is reported, and tried again only when it has gone and come back: the versions
        before it go on to serve.
        """
        with self._updating:
            wanted = _wanted(self._config)
            self._load_all(wanted)
            self._keep_only(wanted)

    def follow(self, seconds: float) -> threading.Thread:
        """Updates at this interval, in a thread of its own, until `close`."""

        def work():
            while not self._closing.wait(seconds):
                try:
                    self.update()
                except OSError as error:  # A directory server that is away for a moment; what is loaded goes on.
                    logging.error("%s: %s", self._config.base_path, error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

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
        served, which = self._served, spec.WhichOneof("version_choice")
        request = f"Latest({spec.name})"
        version = max(served, default=-1)
        if which == "version":
            version, request = spec.version.value, f"Specific({spec.name}, {spec.version.value})"
        elif which == "version_label":
            labels: Mapping[str, int] = self._config.version_labels
            if spec.version_label not in labels:
                raise Status("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
            version = labels[spec.version_label]
        if spec.name != self.name or version not in served:
            raise Status("NOT_FOUND", f"Servable not found for request: {request}")
        return served[version]

    def conditions(self, spec: model_pb2.ModelSpec) -> dict[int, Condition]:
        """The state of all versions, or of the one asked for; the newest first.

        Raises:
          Status: NOT_FOUND.
        """
        found = dict(sorted(self._conditions.items(), reverse=True)) if spec.name == self.name else {}
        if spec.WhichOneof("version_choice") == "version":
            number = spec.version.value
            if number not in found:
                raise Status("NOT_FOUND", f"Could not find version {number} of model {spec.name}")
            return {number: found[number]}
        if not found:
            raise Status("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        return found

    def is_ready(self) -> bool:
        """Whether some version is served."""
        return bool(self._served)

    def _load_all(self, wanted: list[int]) -> None:
        for version in wanted:
            if version not in self._served and not self._failed(version):
                self._start(version)

    def _keep_only(self, wanted: list[int]) -> None:
        # What is served goes on while nothing else is there to serve in its place.
        if any(version in self._served for version in wanted):
            for version in sorted(set(self._served) - set(wanted)):
                self._stop(version)
        for version in set(self._conditions) - set(wanted):
            if self._failed(version):
                del self._conditions[version]

    def _failed(self, version: int) -> bool:
        return version in self._conditions and bool(self._conditions[version].error)

    def _start(self, version: int) -> None:
        self._conditions[version] = Condition(State.LOADING)
        try:
            servable = self._load(os.path.join(self._config.base_path, str(version)))
            servable.warm_up()
        except Exception as error:
            # Whatever is wrong with a new version, the server and the versions before it go on; the status tells.
            self._conditions[version] = Condition(State.END, f"{type(error).__name__}: {error}")
            logging.exception("%s: version %d cannot be loaded", self.name, version)
            return
        self._served = {**self._served, version: servable}
        self._conditions[version] = Condition(State.AVAILABLE)
        logging.info("%s: version %d is served", self.name, version)

    def _stop(self, version: int) -> None:
        # Requests under way hold on to the version they began with.
        self._served = {v: servable for v, servable in self._served.items() if v != version}
        self._conditions[version] = Condition(State.END)
        logging.info("%s: version %d is not served any more", self.name, version)


def _wanted(config: model_server_config_pb2.ModelConfig) -> list[int]:
    """Versions that the policy asks for, of those that are there."""
    path, policy = config.base_path, config.model_version_policy
    there = sorted(int(name) for name in os.listdir(path) if name.isdigit() and os.path.isdir(os.path.join(path, name)))
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return there
    if kind == "specific":
        return [version for version in there if version in policy.specific.versions]
    return there[-max(policy.latest.num_versions, 1) :]
