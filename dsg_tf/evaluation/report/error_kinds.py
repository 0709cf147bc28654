"""The kind of error of every answer, found while a split is evaluated."""

from __future__ import annotations

import numpy as np

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import ROLES
from dsg_tf.evaluation.analysis import box_rules, errors


class ErrorKinds:
    """What `scoring.evaluate` tells of its batches, as kinds of error.

    Attributes:
      of_roles: by role, one of `errors.KINDS` for each query, in the order of `Evaluation.queries`; none of systems
        that answer with maps.
    """

    def __init__(self):
        self.of_roles: dict[str, list[str]] = {role: [] for role in ROLES}

    def __call__(self, outputs, batch, ious) -> None:
        """Adds a batch; `ious`: by role, float32 `[B, Q]`."""
        if "boxes" not in outputs:
            return
        refined, proposed = (box_lib.iou(outputs[name], batch["true_boxes"]).numpy() for name in ("boxes", "proposals"))
        of_class = {role: found.numpy() for role, found in box_rules.of_class(batch).items()}
        boxes, asked, valid = batch["box_mask"].numpy(), batch["query_mask"].numpy(), outputs["valid"].numpy()
        for role in ROLES:
            answers, wanted = outputs[f"{role}_mask"].numpy(), batch[f"{role}_of"].numpy()
            for row in np.flatnonzero(asked.any(axis=1)):
                there, queries = boxes[row], asked[row]
                self.of_roles[role] += errors.categorize(
                    refined[row][:, there],
                    proposed[row][:, there],
                    valid=valid[row],
                    answers=answers[row, queries],
                    wanted=wanted[row, queries][:, there],
                    of_class=of_class[role][row, queries][:, there],
                    mask_ious=ious[role][row, queries],
                )
