"""The weights of the loss terms, by the names under which the terms are computed, logged and tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

NUM_IN_ORDER = 6  # Version 0.1 knew the first six, as numbers.


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms (the paper, section 4); the defaults are those of its authors' released code."""

    rpn_score: float = 1.0
    rpn_box: float = 1.0
    rr: float = 0.1
    refine: float = 1.0
    entity: float = 0.01
    relation: float = 0.01
    edges: float = 1.0

    def __post_init__(self):
        for name, weight in dataclasses.asdict(self).items():
            if not weight >= 0:
                raise ValueError(f"{name}={weight!r} must be at least 0")

    @classmethod
    def parse(cls, given: Sequence[str] | Sequence[float] | Mapping[str, float]) -> LossWeights:
        """Reads weights.

        Args:
          given: weights by name; or texts "name=weight"; or six weights in the order of the fields, as version 0.1 had
            them. Terms that are not named keep their defaults.

        Raises:
          ValueError: an unknown or repeated name, a weight that is no number or negative, or not six of them.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        pairs: list[tuple[str, str | float]]
        if isinstance(given, Mapping):
            pairs = list(given.items())
        elif all("=" in str(item) for item in given):
            pairs = [(name.strip(), weight) for name, _, weight in (str(item).partition("=") for item in given)]
        elif len(given) == NUM_IN_ORDER:
            pairs = list(zip(names, given))
        else:
            raise ValueError(
                f"--loss_weights={','.join(map(str, given))}: give weights by name, such as rr=0.5,relation=0.3, or "
                f"all 6 values of {', '.join(names[:NUM_IN_ORDER])}"
            )
        weights = dict(pairs)
        wrong = [name for name in weights if name not in names]
        if wrong or len(weights) < len(pairs):
            what = f"{wrong[0]!r} is no loss term" if wrong else "a term is named twice"
            raise ValueError(f"--loss_weights={','.join(map(str, given))}: {what}; the terms are {', '.join(names)}")
        try:
            return cls(**{name: float(weight) for name, weight in weights.items()})
        except ValueError as error:
            raise ValueError(f"--loss_weights={','.join(map(str, given))}: {error}") from error

    def __str__(self) -> str:
        return ",".join(f"{name}={weight:g}" for name, weight in dataclasses.asdict(self).items())
