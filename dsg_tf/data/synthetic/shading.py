"""The light in a picture: area lamps, soft shadows, a plane, rubber and metal.

The figures (ambient light, highlights, the share of light that surfaces reflect) were fitted to averages over CLEVR's
renders: of the plane, and of objects by normal and by mirrored direction. Light is linear, colours are red, green,
blue; vectors lie along the first axis, `[3, ...]`.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from PIL import Image

from dsg_tf.data.synthetic import solids as solid_lib
from dsg_tf.data.synthetic.raycast import CIRCUMSCRIBED, NO_OBJECT, Camera, Samples
from dsg_tf.data.synthetic.solids import Solid, dot

AMBIENT = np.float32(0.045)  # On the plane.
# On a level face of an object, and how much more on one that faces down: the plane is bright.
OBJECT_AMBIENT = np.float32(0.115), np.float32(0.075)
LIT = np.float32(1.2)  # An object of colour 1 reflects more of a lamp than the plane does.
SKY = np.float32(0.02)  # What metal mirrors above the horizon.
BACKDROP = np.float32(0.10)  # The same on the far side of the scene, in this direction.
BACKDROP_SIDE = np.array([-0.906, 0.423, 0], np.float32)
MIRROR_REACH = np.float32(4.0)  # Metal mirrors solids sharply that touch it, and
MIRROR_BLUR = 0.4  # blurred over this radius what is that far away.
MIRRORED_LIGHT = np.float32(0.15)  # On the solids that metal mirrors.
OWN_SHADE = np.float32(0.5)  # What is left of the mirrored plane where a solid touches it.
METAL_SHARE = np.float32(0.82)  # Of the light that it mirrors.
METAL_DIFFUSE = np.float32(0.04)
# Highlights on metal: strengths of the lobes cos^(2^n) about the mirrored direction, by n.
METAL_LOBES = {3: np.float32(0.5), 5: np.float32(4.2), 7: np.float32(4.0)}
METAL_IMAGE = np.float32(0.6)  # The share of a lamp's light in its mirror image.
NEARNESS = 4.0  # Metal mirrors no solid that is further away than this many of its sizes.
# Upright round posts, of this radius in sizes, take the place of the solids that cast shadows.
POST_RADIUS = {"cube": np.float32(1.15), "cylinder": np.float32(1.0)}
POST_CAP = np.float32(0.3)  # How far below the top its axis ends, in radii.
FAR_PLANE = 60.0
SQUARE = np.array([[-1, -1, 0], [-1, 1, 0], [1, -1, 0], [1, 1, 0]])
SMOOTH = Image.Resampling.BILINEAR


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A flat lamp.

    Attributes:
      position: float32 `[3]`, of its centre.
      toward: float32 `[3]`, unit vector; it shines with the cosine of the angle to it.
      power: float32 `[3]`.
      radius: of a disk that makes shadows as soft.
      gloss: how much brighter its highlights are than those of other lamps of the same power.
    """

    position: np.ndarray
    toward: np.ndarray
    power: np.ndarray
    radius: float
    gloss: float = 1.0


def paint(camera: Camera, solids: list[Solid], lamps: list[Lamp], samples: Samples) -> np.ndarray:
    """The picture, float32 `[H, W, 3]`, linear light, about 0 to 1.

    Args:
      camera: where from.
      solids: the objects.
      lamps: the lamps.
      samples: of `raycast.sample` with the same camera and objects.
    """
    picture = _plane(camera, solids, lamps).reshape(3, -1)
    free = (samples.edge_solid == NO_OBJECT).mean(axis=0, dtype=np.float32)
    edges = picture[:, samples.edge] * free
    near, shading = _neighbors(solids, lamps)
    for number, solid in enumerate(solids):
        others = list(itertools.compress(solids, near[number]))
        shaders = [list(itertools.compress(solids, lamp[number])) for lamp in shading]
        own = np.flatnonzero(samples.inside_solid == number)
        # An edge pixel shows as much of a solid as its rays meet, in the colour of the first.
        meets = samples.edge_solid == number
        share = meets.mean(axis=0, dtype=np.float32)
        shown = np.flatnonzero(share)
        first = meets[:, shown].argmax(axis=0)
        rays = np.concatenate([samples.inside_rays[:, own], samples.edge_rays[:, first, shown]], axis=1)
        distance = np.concatenate([samples.inside_distance[own], samples.edge_distance[first, shown]])
        points = camera.position[:, None] + rays * distance
        colors = _surface(solid, points, rays, others, lamps, shaders)
        picture[:, samples.inside[own]] = colors[:, : len(own)]
        edges[:, shown] += colors[:, len(own) :] * share[shown]
    picture[:, samples.edge] = edges
    return picture.T.reshape(camera.height, camera.width, 3)


def _plane(camera: Camera, solids, lamps):
    """The plane alone, float32 `[3, H, W]`; it is smooth, so every other pixel is shaded."""
    height, width = camera.height, camera.width
    y, x = np.mgrid[1 : height + 1 : 2, 1 : width + 1 : 2]
    rays = camera.rays(y.ravel(), x.ravel()).reshape(3, *y.shape)
    below = np.maximum(-rays[2], np.float32(1e-3))  # Above the horizon: the plane far away.
    points = camera.position[:, None, None] + rays * (camera.position[2] / below)
    points[2] = 0
    light = np.full(points.shape, AMBIENT)
    for lamp in lamps:
        direction, distance, arriving = _arriving(lamp, points)
        arriving *= direction[2]
        for solid, window in zip(solids, _shadow_windows(camera, lamp, solids)):
            shadow = (slice(None), *window)
            shade = _covered(solid, points[shadow], direction[shadow], distance[window], lamp.radius)
            arriving[window] *= 1 - shade
        light += lamp.power[:, None, None] * arriving
    half = (0, 0, width / 2, height / 2)
    planes = [Image.fromarray(plane).resize((width, height), SMOOTH, half) for plane in light]
    return np.stack([np.asarray(plane) for plane in planes])


def _surface(solid: Solid, points, rays, others, lamps, shaders):
    """Colours `[3, P]` of the points `[3, P]` of a solid as `rays` `[3, P]` see them.

    `others` are the solids beside it, `shaders` those that may come before each of the lamps.
    """
    normals = solid_lib.normals(solid, points)
    ambient = OBJECT_AMBIENT[0] - OBJECT_AMBIENT[1] * normals[2]
    diffuse, gloss = np.stack([ambient] * 3), np.zeros_like(points)
    if solid.metal:
        mirrored = rays - 2 * dot(rays, normals) * normals
    for lamp, before in zip(lamps, shaders):
        direction, distance, arriving = _arriving(lamp, points)
        for other in before:
            arriving *= 1 - _covered(other, points, direction, distance, lamp.radius)
        lit = LIT * arriving * np.maximum(dot(direction, normals), 0)
        diffuse += lamp.power[:, None] * lit
        if solid.metal:
            cosine = np.maximum(dot(direction, mirrored), 0)
            arriving *= lamp.gloss * _highlight(cosine, lamp.radius / distance)
            gloss += lamp.power[:, None] * arriving
    if not solid.metal:
        return solid.color[:, None] * diffuse
    world = _mirrored(solid, points, mirrored, others, lamps)
    return solid.color[:, None] * (METAL_DIFFUSE * diffuse + gloss + world)


def _mirrored(solid: Solid, points, rays, others, lamps):
    """What the metal at `points` `[3, P]` shows along `rays` `[3, P]`: backdrop, plane and solids."""
    down = np.maximum(-rays[2], np.float32(0.02))
    ground = points + rays * np.minimum(points[2] / down, np.float32(FAR_PLANE))
    ground[2] = 0
    light = np.full(points.shape, AMBIENT)
    for lamp in lamps:
        direction, _, arriving = _arriving(lamp, ground)
        light += lamp.power[:, None] * (arriving * direction[2])
    away = (ground - solid.center[:, None])[:2] / np.float32(solid.size)
    beside = np.sqrt(away[0] ** 2 + away[1] ** 2) - 1  # From the wall of the solid, in sizes.
    light *= METAL_SHARE * np.clip(OWN_SHADE + (1 - OWN_SHADE) * beside, OWN_SHADE, 1)
    wall = np.clip(2 * dot(BACKDROP_SIDE, rays) - np.float32(0.2), 0, 1)
    sky = SKY + (BACKDROP - SKY) * wall
    # The mirror is a little rough, so the horizon is a soft line, and so is the rim of a solid.
    seen = sky + (light - sky) * np.clip(np.float32(0.5) - 4 * rays[2], 0, 1)
    for other in others:
        covered = _covered(other, points, rays, MIRROR_REACH, MIRROR_BLUR)
        seen += covered * (MIRRORED_LIGHT * other.color[:, None] - seen)
    return seen


def _arriving(lamp: Lamp, points):
    """Unit directions `[3, ...]` to a lamp, its distances `[...]` and the share of its power there."""
    direction = _vector(lamp.position, points) - points
    distance = np.sqrt(dot(direction, direction))
    direction /= distance
    return direction, distance, np.maximum(-dot(lamp.toward, direction), 0) / distance**2


def _covered(solid: Solid, points, direction, distance, blur: float):
    """How much a solid hides, seen from the points `[3, ...]`, of what lies in a direction, `[...]`.

    What lies there is a disk of radius `blur` at the distance `[...]`: the edge is soft, and the softer the further off
    it is.
    """
    size = np.float32(solid.size)
    offset = _vector(solid.center, points) - points
    if solid.shape == "sphere":
        radius = size
        along = dot(offset, direction)
    else:  # Where the line passes the post's axis, then the nearest point of the axis.
        radius = size * POST_RADIUS[solid.shape]
        across = offset[0] * direction[0] + offset[1] * direction[1]
        flat = np.maximum(1 - direction[2] ** 2, np.float32(1e-6))
        rise = np.maximum(across / flat * direction[2], -points[2])
        offset[2] = np.minimum(rise, 2 * size - POST_CAP * radius - points[2])
        along = across + offset[2] * direction[2]
    offset -= along * direction
    passing = np.sqrt(dot(offset, offset)) - radius
    soft = 2 * np.float32(blur) / distance * np.maximum(along, 0) + np.float32(0.04)
    covered = np.minimum(np.maximum(np.float32(0.5) - passing / soft, 0), 1)
    covered *= covered * (3 - 2 * covered)
    covered *= along > 0
    return covered


def _highlight(cosine, extent):
    """The share `[P]` of a lamp's light that metal sends at an angle to the mirrored direction.

    Args:
      cosine: float32 `[P]`, of the angle, not negative.
      extent: float32 `[P]`, half the angle under which the lamp is seen, radians.
    """
    share, power = np.zeros_like(cosine), cosine
    for doubling in range(1, max(METAL_LOBES) + 1):
        power = power * power
        if doubling in METAL_LOBES:
            share += METAL_LOBES[doubling] * power
    # The lamp's disk, soft at the rim; for small angles 1 - cos is half the square.
    square = extent * extent
    image = np.minimum(np.maximum(2 - 4 * (1 - cosine) / square, 0), 1)
    return share + METAL_IMAGE / np.float32(np.pi) * image / square


def _vector(values, like):
    return values.reshape(3, *[1] * (like.ndim - 1))


def _neighbors(solids, lamps):
    """Which solids matter to which.

    Returns:
      near: bool `[S, S]`, the second is close enough to be mirrored in the first.
      shading: for each lamp bool `[S, S]`, the second may come between the first and the lamp.
    """
    centers = np.array([solid.center for solid in solids]).reshape(-1, 3)
    sizes = np.array([solid.size for solid in solids])
    reach = sizes * [CIRCUMSCRIBED[solid.shape] for solid in solids]
    offset = centers - centers[:, None]  # [S, S, 3], from the first to the second.
    other = ~np.eye(len(solids), dtype=bool)
    near = np.linalg.norm(offset, axis=-1) - reach[:, None] < NEARNESS * sizes
    shading = []
    for lamp in lamps:
        to_lamp = (lamp.position - centers)[:, None]
        share = np.clip((offset * to_lamp).sum(-1) / (to_lamp**2).sum(-1), 0, 1)
        passing = np.linalg.norm(offset - share[..., None] * to_lamp, axis=-1)
        shading.append(other & (passing < reach + reach[:, None] + lamp.radius * share))
    return other & near, shading


def _shadow_windows(camera: Camera, lamp: Lamp, solids) -> list[tuple[slice, slice]]:
    """Rows and columns of the half-size plane in which the shadow of each solid lies.

    A shadow lies between two disks, at the foot of the solid and where the light past its top ends; their bounding
    squares are projected.
    """
    centers = np.array([solid.center for solid in solids]).reshape(-1, 1, 3)
    heights = 2 * centers[..., 2:]
    stretch = heights / np.maximum(lamp.position[2] - heights, 0.1)
    tips = centers + stretch * (centers - lamp.position)
    radii = 0.75 * heights
    ends = radii + stretch * (radii + lamp.radius)
    corners = np.concatenate([centers + radii * SQUARE, tips + ends * SQUARE], axis=1)
    corners[..., 2] = 0
    x, y, depth = np.moveaxis(camera.project(corners), -1, 0)  # Each [solids, 8].
    windows = []
    for number in range(len(solids)):
        if depth[number].min() < 1:  # Behind the camera.
            windows.append((slice(None), slice(None)))
            continue
        top, left = max(int(y[number].min() / 2), 0), max(int(x[number].min() / 2), 0)
        bottom, right = max(int(y[number].max() / 2) + 1, 0), max(int(x[number].max() / 2) + 1, 0)
        windows.append((slice(top, bottom), slice(left, right)))
    return windows
