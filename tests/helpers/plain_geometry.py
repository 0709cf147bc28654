"""Geometry of boxes in plain Python and numpy, to compare with."""


def area_of(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def intersection_of(first, second) -> float:
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    return max(height, 0.0) * max(width, 0.0)


def iou_of(first, second) -> float:
    """IoU of two boxes in plain Python."""
    shared = intersection_of(first, second)
    total = area_of(first) + area_of(second) - shared
    return shared / total if total > 0 else 0.0


def extent(mask):
    """[y0, x0, y1, x1] of the true pixels, ends exclusive."""
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    last = len(rows) - rows[::-1].argmax(), len(columns) - columns[::-1].argmax()
    return [rows.argmax(), columns.argmax(), *last]
