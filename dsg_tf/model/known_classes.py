"""Class logits of a detector that was trained on other data, as a start for those of a data set's own classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import logging

from dsg_tf.keras import keras


class KnownClasses(keras.layers.Layer):
    """A linear map from logits of C known classes to logits of E classes.

    Args:
      names: of the C known classes.
      num_entities: E.
    """

    def __init__(self, names: Sequence[str], num_entities: int, **kwargs):
        super().__init__(**kwargs)
        self.names = tuple(names)
        self.map = keras.layers.Dense(num_entities, kernel_initializer="zeros", name="map")

    def call(self, logits):
        """Float32 `[B, N, C]` to float32 `[B, N, E]`."""
        return self.map(logits)

    def match(self, entities: Sequence[str], groups: Sequence[Sequence[str]] = ()) -> None:
        """Makes the map the identity where a class has the name of a known one, or means the same; zero elsewhere.

        Args:
          entities: names of the E classes.
          groups: words that mean the same; the first group that has the class and a known one counts.
        """
        kernel = np.zeros([len(self.names), len(entities)], np.float32)
        for column, entity in enumerate(entities):
            known = self._known(entity.casefold(), groups)
            if known is not None:
                kernel[self.names.index(known), column] = 1.0
        self.map.kernel.assign(kernel)
        logging.info("the detector knows %d of %d classes by name", int(kernel.sum()), len(entities))

    def _known(self, entity: str, groups: Sequence[Sequence[str]]) -> str | None:
        words = (entity, *(word for group in groups if entity in group for word in group))
        return next((word for word in words if word in self.names), None)
