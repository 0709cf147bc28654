"""Geometry of boxes in plain Python and numpy, to compare with."""


def iou_of(first, second) -> float:
    """IoU of two boxes in plain Python."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(height, 0.0) * max(width, 0.0)
    total = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - shared
    return shared / total if total > 0 else 0.0


def extent(mask):
    """[y0, x0, y1, x1] of the true pixels, ends exclusive."""
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    last = len(rows) - rows[::-1].argmax(), len(columns) - columns[::-1].argmax()
    return [rows.argmax(), columns.argmax(), *last]
