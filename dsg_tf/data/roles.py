"""The two roles of a query, and what a box can be to a query: said here, once."""

from __future__ import annotations

# The parts of a query, as they are asked, and those of them that are answered with boxes.
QUERY_PARTS = ("subject", "relation", "object")
ROLES = ("subject", "object")

# Labels of the referring-relationships classifier (the paper, section 3.2 B), in the order of its logits.
BACKGROUND, SUBJECT, OBJECT, OTHER = range(4)
NUM_LABELS = 4
LABEL_OF = {"subject": SUBJECT, "object": OBJECT}
