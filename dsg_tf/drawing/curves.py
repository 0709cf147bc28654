"""Curves in the unit square as SVG inside a page: precision against recall, what is true against what was said."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from dsg_tf.drawing.page import Html, bullets, escaped, line

COLORS = 4  # Of the style, `c0` to `c3`.
_LEFT, _TOP, _SIDE = 44, 8, 260
_WIDTH, _HEIGHT = _LEFT + _SIDE + 16, _TOP + _SIDE + 42
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points (x, y) in [0, 1], joined in their order; those that are NaN are left out.

    Attributes:
      name: for the legend.
      points: the points.
      marked: whether each has a dot: where they are few.
    """

    name: str
    points: Sequence[tuple[float, float]]
    marked: bool = False


def plot(title: str, x_label: str, y_label: str, curves: Sequence[Curve], guide: bool = False) -> Html:
    """A figure with a legend below it.

    Args:
      title: what it shows, which is also its text for those who do not see it.
      x_label, y_label: of the axes.
      curves: at most `COLORS`.
      guide: whether the diagonal is drawn.

    Raises:
      ValueError: more curves than colours.
    """
    if len(curves) > COLORS:
        raise ValueError(f"plot has {COLORS} colors, got {len(curves)} curves")
    parts = [_axes(x_label, y_label)]
    if guide:
        parts.append(_segment(0, 0, 1, 1, "guide"))
    parts += [_curve(curve, color) for color, curve in enumerate(curves)]
    legend = [
        line(Html(f'<span class="c{color}" aria-hidden="true">\N{BLACK SQUARE}</span> '), curve.name)
        for color, curve in enumerate(curves)
    ]
    return Html(
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escaped(title)}">{"".join(parts)}</svg>\n'
        f"<figcaption>{escaped(title)}\n{bullets(legend)}</figcaption></figure>\n"
    )


def side_by_side(figures: Sequence[Html]) -> Html:
    """Figures of `plot` beside each other, as many as there is room for."""
    return Html(f'<div class="pictures">\n{"".join(figures)}</div>\n')


def _at(x: float, y: float) -> tuple[float, float]:
    return _LEFT + _SIDE * x, _TOP + _SIDE * (1 - y)


def _segment(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    (a, b), (c, d) = _at(x0, y0), _at(x1, y1)
    return f'<line class="{kind}" x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"/>'


def _axes(x_label: str, y_label: str) -> str:
    parts = []
    for tick in _TICKS:
        parts += [_segment(tick, 0, tick, 1, "grid"), _segment(0, tick, 1, tick, "grid")]
        x, y = _at(tick, tick)
        parts.append(f'<text x="{x:.1f}" y="{_TOP + _SIDE + 16}" text-anchor="middle">{tick:.1f}</text>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.1f}</text>')
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text x="{_LEFT + _SIDE / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escaped(x_label)}</text>'
        f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">'
        f"{escaped(y_label)}</text>"
    )
    return "".join(parts)


def _curve(curve: Curve, color: int) -> str:
    places = [_at(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places) if curve.marked else ""
    return f'<g class="c{color}"><polyline points="{joined}"/>{dots}</g>'
