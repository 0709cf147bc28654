"""An analytic ray caster for spheres, cubes and cylinders that stand on a plane.

Rays are cast through 2 x 2 points of each pixel, but only inside the screen rectangle of each object, and shaded all
four only where an object does not fill the pixel. Shadows are soft: a light is dimmed by how close its ray passes an object's bounding sphere.
World coordinates are CLEVR's: z points up, the plane is z = 0, lengths are in Blender units.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

SAMPLES = 2  # Rays a side of each pixel.
BLOCK = [(row, column) for row in range(SAMPLES) for column in range(SAMPLES)]
FOCAL_LENGTH = 350.0 / 320.0  # In image widths: a 35 mm lens on a 32 mm sensor.
NO_OBJECT = -1
# Shares of the light that surfaces reflect.
RUBBER_GLOSS = np.float32(0.0012)
METAL_DIFFUSE = np.float32(0.22)
METAL_TINT = np.float32(1.5)
METAL_GLOSS = np.float32(0.12)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
      position: float32 ``[3]``.
      axes: float32 ``[3, 3]``, rows: right, down and forward, unit vectors.
      height, width: of the image, pixels.
    """

    position: np.ndarray
    axes: np.ndarray
    height: int
    width: int

    @classmethod
    def looking_at(cls, position, target, height: int, width: int) -> Camera:
        """A camera with a level horizon that has ``target`` in the centre of its image."""
        position = np.asarray(position, np.float32)
        forward = np.asarray(target, np.float32) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return cls(position, np.stack([right, np.cross(forward, right), forward]).astype(np.float32), height, width)

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL_LENGTH * self.width

    def project(self, points) -> np.ndarray:
        """World points ``[..., 3]`` to ``[..., 3]``: x and y in pixels and the depth."""
        seen = (np.asarray(points, np.float32) - self.position) @ self.axes.T
        depth = seen[..., 2:]
        return np.concatenate([seen[..., :2] / depth * self.focal + [self.width / 2, self.height / 2], depth], -1)

    def rays(self, rows: slice, columns: slice, samples: int = 1) -> np.ndarray:
        """Unit directions float32 ``[3, rows, columns]`` through a grid with ``samples`` points a side of a pixel."""
        y = (np.arange(rows.start, rows.stop, rows.step, dtype=np.float32) + 0.5) / samples - self.height / 2
        x = (np.arange(columns.start, columns.stop, columns.step, dtype=np.float32) + 0.5) / samples - self.width / 2
        right, down, forward = self.axes[:, :, None, None] / np.float32([self.focal, self.focal, 1])[:, None, None, None]
        rays = forward + y[:, None] * down + x * right
        return (rays / np.sqrt(_dot(rays, rays))).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Solid:
    """An object that stands on the plane.

    Attributes:
      shape: "sphere", "cube" or "cylinder".
      center: float32 ``[3]``.
      size: radius, or half the side of a cube; a cylinder is as high as wide.
      turn: rotation about the vertical, radians.
      color: float32 ``[3]``, linear RGB.
      shiny: whether it is metal.
    """

    shape: str
    center: np.ndarray
    size: float
    turn: float
    color: np.ndarray
    shiny: bool

    @property
    def bound(self) -> float:
        """Radius of the sphere around it."""
        return self.size * {"sphere": 1.0, "cube": np.sqrt(3.0), "cylinder": np.sqrt(2.0)}[self.shape]


@dataclasses.dataclass(frozen=True)
class Light:
    """A lamp at ``position`` float32 ``[3]``: how bright it is, and how wide, which makes shadows soft."""

    position: np.ndarray
    power: float
    radius: float


@dataclasses.dataclass(frozen=True)
class View:
    """What a camera sees, before it is lit.

    Attributes:
      camera, solids: of the scene.
      index: int8 ``[H * SAMPLES, W * SAMPLES]``, the object at each sample or `NO_OBJECT`.
      hits: per object its rows and columns of samples, and there the rays ``[3, ...]``, distances and normals.
    """

    camera: Camera
    solids: list[Solid]
    index: np.ndarray
    hits: list[tuple]

    def owners(self) -> np.ndarray:
        """int ``[H, W]``: the object with at least half of each pixel's samples (the first of two), or `NO_OBJECT`."""
        owners = np.full([self.camera.height, self.camera.width], NO_OBJECT)
        for number in reversed(range(len(self.solids))):
            rows, columns = self.hits[number][:2]
            most = _block_sum((self.index[rows, columns] == number).astype(np.int8)) * 2 >= SAMPLES**2
            pixels = tuple(slice(s.start // SAMPLES, s.stop // SAMPLES) for s in (rows, columns))
            owners[pixels][most] = number
        return owners


def look(camera: Camera, solids: list[Solid]) -> View:
    """Casts the rays."""
    size = camera.height * SAMPLES, camera.width * SAMPLES
    depth, index = np.full(size, np.inf, np.float32), np.full(size, NO_OBJECT, np.int8)
    hits = []
    for number, solid in enumerate(solids):
        rows, columns = _screen_rectangle(camera, solid)
        rays = camera.rays(rows, columns, SAMPLES)
        distance, normals = _hit(solid, camera.position, rays)
        nearer = distance < depth[rows, columns]
        depth[rows, columns][nearer] = distance[nearer]
        index[rows, columns][nearer] = number
        hits.append((rows, columns, rays, distance, normals))
    return View(camera, solids, index, hits)


def shade(view: View, lights: list[Light], ambient: float, ground: float) -> np.ndarray:
    """Lights a scene.

    Args:
      view: from `look`.
      lights: the lamps.
      ambient: light that comes from everywhere.
      ground: brightness of the plane.

    Returns:
      float32 ``[H, W, 3]``, linear light; 1 is white.
    """
    camera, solids = view.camera, view.solids
    plane = _plane(camera, solids, lights, ambient, ground).repeat(SAMPLES, axis=0).repeat(SAMPLES, axis=1)
    picture = np.repeat(plane[None], 3, axis=0)  # [3, H * SAMPLES, W * SAMPLES]
    for number, (solid, (rows, columns, rays, distance, normals)) in enumerate(zip(solids, view.hits)):
        whole, shaded = _samples_to_shade(view.index[rows, columns] == number)
        rays, normals = rays[:, shaded], normals[:, shaded]
        points = camera.position[:, None] + rays * distance[shaded]
        others = solids[:number] + solids[number + 1:]
        region = picture[:, rows, columns]
        region[:, shaded] = _surface(solid, points, normals, rays, others, lights, ambient, ground)
        for row, column in BLOCK[1:]:
            region[:, row::SAMPLES, column::SAMPLES][:, whole] = region[:, ::SAMPLES, ::SAMPLES][:, whole]
    return np.moveaxis(_block_sum(picture), 0, -1) / np.float32(SAMPLES**2)


def _dot(first, second):
    """Dot products along the first axis, of three."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _block_sum(samples):
    """Sums of the samples of each pixel: ``[..., H * SAMPLES, W * SAMPLES]`` to ``[..., H, W]``."""
    return sum(samples[..., row::SAMPLES, column::SAMPLES] for row, column in BLOCK)


def _samples_to_shade(seen):
    """Pixels that an object fills, bool ``[H, W]``, and samples to shade: the first of those, all seen of the others."""
    whole = np.logical_and.reduce([seen[row::SAMPLES, column::SAMPLES] for row, column in BLOCK])
    shaded = seen.copy()
    for row, column in BLOCK[1:]:
        shaded[row::SAMPLES, column::SAMPLES] &= ~whole
    return whole, shaded


def _screen_rectangle(camera: Camera, solid: Solid) -> tuple[slice, slice]:
    """Rows and columns of samples that hold the object's bounding sphere."""
    x, y, depth = camera.project(solid.center)
    # The silhouette of a sphere off the optical axis is an ellipse, longer than the sphere by up to 1 / cos.
    seen = np.linalg.norm(solid.center - camera.position)
    reach = camera.focal * solid.bound / np.sqrt(max(depth**2 - solid.bound**2, 1e-6)) * seen / depth + 1.0
    limits = []
    for middle, length in ((y, camera.height), (x, camera.width)):
        ends = np.clip([np.floor(middle - reach), np.ceil(middle + reach)], 0, length).astype(int) * SAMPLES
        limits.append(slice(int(ends[0]), int(ends[1]), 1))
    return limits[0], limits[1]


def _hit(solid: Solid, origin, rays):
    """Distance float32 ``[...]`` along unit ``rays`` ``[3, ...]`` (inf where missed) and the unit normals there."""
    offset = (origin - solid.center).astype(np.float32)
    if solid.shape == "sphere":
        return _hit_sphere(offset, rays, np.float32(solid.size))
    cos, sin = np.float32(np.cos(solid.turn)), np.float32(np.sin(solid.turn))
    hit = _hit_cube if solid.shape == "cube" else _hit_cylinder
    distance, normal = hit(_turn(offset, cos, sin), _turn(rays, cos, sin), np.float32(solid.size))
    return distance, _turn(normal, cos, -sin)


def _turn(vectors, cos, sin):
    """Vectors ``[3, ...]`` in axes that are turned about the vertical."""
    return np.stack([cos * vectors[0] + sin * vectors[1], cos * vectors[1] - sin * vectors[0], vectors[2]])


def _hit_sphere(offset, rays, radius):
    along = rays[0] * offset[0] + rays[1] * offset[1] + rays[2] * offset[2]
    inside = along**2 - (offset @ offset - radius**2)
    distance = np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.float32(np.inf))
    normal = (offset[:, None, None] + rays * np.where(inside > 0, distance, 0)) / radius
    return distance, normal


def _hit_cube(offset, rays, half):
    """A cube around the origin: the last of the entries into its three slabs, if no exit comes before."""
    safe = np.where(np.abs(rays) < 1e-7, np.float32(1e-7), rays)
    toward = np.sign(safe)
    inverse = 1 / safe
    first = (-half * toward - offset[:, None, None]) * inverse
    last = (half * toward - offset[:, None, None]) * inverse
    enter = np.maximum(np.maximum(first[0], first[1]), first[2])
    missed = (enter > np.minimum(np.minimum(last[0], last[1]), last[2])) | (enter < 0)
    return np.where(missed, np.float32(np.inf), enter), np.where(first == enter, -toward, 0)


def _hit_cylinder(offset, rays, radius):
    """A vertical cylinder of half height ``radius``: the later of the entries into its wall and into its slab."""
    a = np.maximum(rays[0] ** 2 + rays[1] ** 2, np.float32(1e-9))
    b = rays[0] * offset[0] + rays[1] * offset[1]
    inside = b**2 - a * (offset[0] ** 2 + offset[1] ** 2 - radius**2)
    root = np.sqrt(np.maximum(inside, 0))
    wall_in, wall_out = (-b - root) / a, (-b + root) / a
    vertical = np.where(np.abs(rays[2]) < 1e-7, np.float32(1e-7), rays[2])
    toward = np.sign(vertical)
    slab_in, slab_out = (-radius * toward - offset[2]) / vertical, (radius * toward - offset[2]) / vertical
    enter = np.maximum(wall_in, slab_in)
    missed = (inside <= 0) | (enter > np.minimum(wall_out, slab_out)) | (enter < 0)
    on_wall = wall_in >= slab_in
    normal = np.stack([np.where(on_wall, (offset[0] + rays[0] * enter) / radius, 0),
                       np.where(on_wall, (offset[1] + rays[1] * enter) / radius, 0), np.where(on_wall, 0, -toward)])
    return np.where(missed, np.float32(np.inf), enter), normal


def _visibility(points, direction, length, light: Light, solids: list[Solid]) -> np.ndarray:
    """How much of a light points ``[3, P]`` see, ``[P]`` in 0 to 1; it is ``length`` away in ``direction``."""
    visible = np.ones(points.shape[1], np.float32)
    blur_per_length = light.radius / length
    for solid in solids:
        offset = solid.center[:, None] - points
        along = _dot(offset, direction)
        passing = np.sqrt(np.maximum(_dot(offset, offset) - along * along, 0))
        blur = blur_per_length * np.maximum(along, 0) + np.float32(0.05)  # Half width of the half shadow there.
        radius = np.float32(solid.size * (1.0 if solid.shape == "sphere" else 1.12))
        share = np.clip((passing - radius) / (2 * blur) + np.float32(0.5), 0, 1)
        share *= share * (3 - 2 * share)
        visible *= np.where(along > 0, share, 1)
    return visible


def _contact(points, solids: list[Solid]) -> np.ndarray:
    """How much ambient light points ``[3, P]`` keep near objects, ``[P]``."""
    kept = np.ones(points.shape[1], np.float32)
    for solid in solids:
        offset = points - solid.center[:, None]
        nearness = np.float32(solid.size**2) / np.maximum(_dot(offset, offset), np.float32(solid.size**2))
        kept *= 1 - np.float32(0.45) * nearness * np.sqrt(nearness)
    return kept


def _toward(light: Light, points):
    """Unit directions ``[3, P]`` from points to a light, and its distances ``[P]``."""
    to_light = light.position[:, None] - points
    length = np.sqrt(_dot(to_light, to_light))
    return to_light / length, length


def _plane(camera: Camera, solids, lights, ambient, ground):
    """The plane with its shadows, float32 ``[H, W]``; it is smooth, so it is shaded at every third pixel only."""
    height, width = camera.height, camera.width
    rays = camera.rays(slice(1, height + 2, 3), slice(1, width + 2, 3))
    rows, columns = rays.shape[1:]
    rays = rays.reshape(3, -1)
    points = camera.position[:, None] - rays * (camera.position[2] / np.minimum(rays[2], np.float32(-1e-3)))
    light = ambient * _contact(points, solids)
    for lamp in lights:
        direction, length = _toward(lamp, points)
        facing = np.maximum(direction[2], 0) * np.float32(lamp.power) / length**2
        light += facing * _visibility(points, direction, length, lamp, solids)
    coarse = Image.fromarray((ground * light).reshape(rows, columns))
    return np.asarray(coarse.resize((columns * 3, rows * 3), Image.BILINEAR))[:height, :width]


def _surface(solid: Solid, points, normals, rays, others, lights, ambient, ground):
    """Colours ``[3, P]`` of the points ``[3, P]`` of an object."""
    diffuse = ambient * (np.float32(0.725) + np.float32(0.275) * normals[2]) * _contact(points, others)
    gloss = np.zeros(points.shape[1], np.float32)
    mirrored = rays - 2 * _dot(rays, normals) * normals
    exponent = 40.0 if solid.shiny else 12.0
    for lamp in lights:
        direction, length = _toward(lamp, points)
        seen = _visibility(points, direction, length, lamp, others)
        diffuse += np.maximum(_dot(direction, normals), 0) * np.float32(lamp.power) / length**2 * seen
        gloss += np.float32(lamp.power) * np.maximum(_dot(mirrored, direction), 0) ** np.float32(exponent) * seen
    color = solid.color[:, None]
    if not solid.shiny:
        return color * diffuse + RUBBER_GLOSS * gloss
    # Metal mirrors the plane below, and above a dark room.
    up = mirrored[2]
    world = np.where(up < 0, ground * (0.15 + 0.45 * np.minimum(-up, 1)), 0.01 + 0.04 * up).astype(np.float32)
    edge = np.float32(0.3) * np.clip(1 + _dot(rays, normals), 0, 1) ** 4  # At grazing angles it mirrors without tint.
    tint = METAL_TINT * color**1.5 * (1 - edge) + edge
    return METAL_DIFFUSE * color**1.5 * diffuse + tint * world + METAL_GLOSS * (0.3 + tint) * gloss
