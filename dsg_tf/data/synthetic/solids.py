"""Where rays meet spheres, cubes and cylinders, exactly, and which way the surface faces there.

Cubes and cylinders have rounded edges, as CLEVR's have: there the rays are followed from the sharp solid to the rounded
one. Coordinates are those of `raycast`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Radius of the rounded edges, as a share of the size; with these the extents of the visible pixels agree with those of
# CLEVR's renders to a tenth of a pixel.
ROUNDING = {"cube": np.float32(0.2), "cylinder": np.float32(0.075)}
MARCH_STEPS = 10
CLOSE = np.float32(0.004)  # To a rounded surface, in sizes: there.


@dataclasses.dataclass(frozen=True)
class Solid:
    """An object that stands on the plane.

    Attributes:
      shape: "sphere", "cube" or "cylinder" (upright, as high as wide).
      center: float32 `[3]`.
      size: the radius, or half the side of a cube.
      turn: rotation about the vertical, radians.
      color: float32 `[3]`, the share of red, green and blue light that it reflects.
      metal: whether it mirrors its surroundings.
    """

    shape: str
    center: np.ndarray
    size: float
    turn: float
    color: np.ndarray
    metal: bool


def hit(solid: Solid, origins, rays) -> np.ndarray:
    """Distances float32 `[P]` from `origins` `[3, P or 1]` along unit `rays` `[3, P]`; inf: missed."""
    offset = origins - solid.center[:, None]
    size = np.float32(solid.size)
    if solid.shape == "sphere":
        along = dot(rays, offset)
        inside = along**2 - (dot(offset, offset) - size**2)
        enter = -along - np.sqrt(np.maximum(inside, 0))
        return np.where((inside > 0) & (enter > 0), enter, np.float32(np.inf))
    offset, rays = turned(offset, solid.turn), turned(rays, solid.turn)
    rays = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    enter_sharp = _enter_cube if solid.shape == "cube" else _enter_cylinder
    return _to_rounded(solid, offset, rays, enter_sharp(offset, rays, size))


def normals(solid: Solid, points) -> np.ndarray:
    """Outward unit normals float32 `[3, P]` at `points` `[3, P]` of the surface."""
    local = points - solid.center[:, None]
    if solid.shape == "sphere":
        return local / np.float32(solid.size)
    beyond = _beyond_core(solid, turned(local, solid.turn))
    beyond /= np.sqrt(np.maximum(dot(beyond, beyond), np.float32(1e-12)))
    return turned(beyond, -solid.turn)


def dot(first, second) -> np.ndarray:
    """Dot products `[P]` of vectors `[3, P]`."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def turned(vectors, angle: float):
    """The vectors in axes that are turned by `angle` about the vertical."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y, z = vectors
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def _enter_cube(offset, rays, half):
    """The last of the entries into three slabs, if no exit comes before."""
    inverse = 1 / rays
    middle, reach = -offset * inverse, half * np.abs(inverse)
    first, last = middle - reach, middle + reach
    enter = np.maximum(np.maximum(first[0], first[1]), first[2])
    leave = np.minimum(np.minimum(last[0], last[1]), last[2])
    return np.where((enter > leave) | (enter < 0), np.float32(np.inf), enter)


def _enter_cylinder(offset, rays, radius):
    """The later of the entries into the round wall and into the slab, if no exit comes before."""
    a = rays[0] ** 2 + rays[1] ** 2
    b = rays[0] * offset[0] + rays[1] * offset[1]
    inside = b**2 - a * (offset[0] ** 2 + offset[1] ** 2 - radius**2)
    root = np.sqrt(np.maximum(inside, 0))
    middle, reach = -offset[2] / rays[2], radius / np.abs(rays[2])
    enter = np.maximum((-b - root) / a, middle - reach)
    leave = np.minimum((-b + root) / a, middle + reach)
    return np.where((inside <= 0) | (enter > leave) | (enter < 0), np.float32(np.inf), enter)


def _to_rounded(solid: Solid, offset, rays, enter):
    """Moves the entries near the edges of the sharp solid on to the rounded one, or past it."""
    size = np.float32(solid.size)
    radius = ROUNDING[solid.shape] * size
    close = CLOSE * size
    offset = np.broadcast_to(offset, rays.shape)
    left = np.flatnonzero(np.isfinite(enter))
    at, gap = enter[left], _gap(solid, offset[:, left] + rays[:, left] * enter[left], radius)
    near_edge = gap > close
    left, at, gap = left[near_edge], at[near_edge], gap[near_edge]
    enter[left] = np.inf
    for _ in range(MARCH_STEPS):
        at = at + gap
        previous, gap = gap, _gap(solid, offset[:, left] + rays[:, left] * at, radius)
        arrived = gap <= close
        enter[left[arrived]] = at[arrived]
        nearing = ~arrived & (gap < previous)  # A solid is convex: who moves off never comes back.
        left, at, gap = left[nearing], at[nearing], gap[nearing]
        if not len(left):
            break
    return enter


def _gap(solid: Solid, local, radius):
    """Distances `[P]` from points outside the core to the rounded surface."""
    beyond = _beyond_core(solid, local)
    return np.sqrt(dot(beyond, beyond)) - radius


def _beyond_core(solid: Solid, local):
    """Vectors `[3, P]` to the points from the nearest point of the solid less its rounding."""
    core = np.float32(solid.size) * (1 - ROUNDING[solid.shape])
    if solid.shape == "cube":
        return local - np.minimum(np.maximum(local, -core), core)
    from_axis = np.sqrt(local[0] ** 2 + local[1] ** 2)
    share = np.maximum(1 - core / np.maximum(from_axis, np.float32(1e-6)), 0)
    height = local[2] - np.minimum(np.maximum(local[2], -core), core)
    return np.stack([local[0] * share, local[1] * share, height])
