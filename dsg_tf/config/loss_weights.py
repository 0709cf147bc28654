"""The weights of the loss terms, by the names under which the terms are computed, logged and tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

NUM_POSITIONAL = 6  # Weights that version 0.1 gave by position.


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms (the paper, section 4); the defaults are those of its authors' released code.

    `auxiliary_rr` weighs a second RR classifier, on the graph's input z_i, which trains only; 0: there is none. The
    authors' code has it, at half the weight of `rr`; the paper does not mention it.
    """

    rpn_score: float = 1.0
    rpn_box: float = 1.0
    rr: float = 0.1
    refine: float = 1.0
    entity: float = 0.01
    relation: float = 0.01
    auxiliary_rr: float = 0.0
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
        first = names[:NUM_POSITIONAL]
        pairs: list[tuple[str, str | float]]
        if isinstance(given, Mapping):
            pairs = list(given.items())
        elif all("=" in str(item) for item in given):
            pairs = [(name.strip(), weight) for name, _, weight in (str(item).partition("=") for item in given)]
        elif len(given) == len(first):
            pairs = list(zip(first, given))
        else:
            raise ValueError(
                f"--loss_weights={','.join(map(str, given))}: give weights by name, such as rr=0.5,relation=0.3, or "
                f"all {len(first)} values of {', '.join(first)}"
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
