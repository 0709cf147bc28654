"""Which object each pixel sees: a camera, and its rays to the solids of a scene.

World coordinates are CLEVR's: z points up, the objects stand on z = 0, lengths are in Blender units. Vectors lie along
the first axis, `[3, P]`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dsg_tf.data.synthetic.solids import Solid, dot, hit, turned

FOCAL_LENGTH = 35 / 32  # In image widths: a lens of 35 mm before a sensor of 32 mm.
NO_OBJECT = -1
CIRCUMSCRIBED = {"sphere": 1.0, "cube": 3**0.5, "cylinder": 2**0.5}
CORNERS = np.mgrid[-1:2:2, -1:2:2, -1:2:2].reshape(3, 8).astype(np.float32)
SUBPIXELS = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
      position: float32 `[3]`.
      axes: float32 `[3, 3]`, rows right, down and forward, unit vectors.
      height: of the image, pixels.
      width: of the image, pixels.
    """

    position: np.ndarray
    axes: np.ndarray
    height: int
    width: int

    @classmethod
    def looking_at(cls, position, target, height: int, width: int) -> Camera:
        """A camera with a level horizon that has `target` in the centre of its image."""
        position = np.asarray(position, np.float32)
        forward = np.asarray(target, np.float32) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, np.array([0, 0, 1], np.float32))
        right /= np.linalg.norm(right)
        return cls(position, np.stack([right, np.cross(forward, right), forward]), height, width)

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return FOCAL_LENGTH * self.width

    def project(self, points) -> np.ndarray:
        """World points `[..., 3]` to `[..., 3]`: x and y in pixels, and the depth."""
        seen = (np.asarray(points) - self.position) @ self.axes.T
        flat, depth = seen[..., :2], seen[..., 2:]
        center = [self.width / 2, self.height / 2]
        return np.concatenate([flat / depth * self.focal + center, depth], axis=-1)

    def rays(self, y, x) -> np.ndarray:
        """Unit directions float32 `[3, P]` through the image points (y `[P]`, x `[P]`), in pixels."""
        y = (np.asarray(y, np.float32) - self.height / 2) / self.focal
        x = (np.asarray(x, np.float32) - self.width / 2) / self.focal
        right, down, forward = self.axes[:, :, None]
        rays = x * right + y * down + forward
        return rays / np.sqrt(dot(rays, rays))


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the rays of an image meet.

    Attributes:
      inside: int `[I]`, flat indices of the pixels that one object fills.
      inside_solid: int `[I]`, that object.
      inside_rays: float32 `[3, I]`, unit directions through their centres.
      inside_distance: float32 `[I]`, how far away the object is.
      edge: int `[E]`, flat indices of the pixels with a silhouette in or beside them.
      edge_rays: float32 `[3, 4, E]`, unit directions through four points of each.
      edge_solid: int `[4, E]`, the object that each of these rays meets, or `NO_OBJECT`.
      edge_distance: float32 `[4, E]`, how far away, inf for none.
    """

    inside: np.ndarray
    inside_solid: np.ndarray
    inside_rays: np.ndarray
    inside_distance: np.ndarray
    edge: np.ndarray
    edge_rays: np.ndarray
    edge_solid: np.ndarray
    edge_distance: np.ndarray


def look(camera: Camera, solids: list[Solid]) -> tuple[np.ndarray, np.ndarray]:
    """Sends one ray through the centre of every pixel.

    Returns:
      owner: int `[H, W]`, the object that it meets first, `NO_OBJECT` for none.
      distance: float32 `[H, W]`, how far away that is, inf for none.
    """
    owner = np.full((camera.height, camera.width), NO_OBJECT, np.int8)
    distance = np.full(owner.shape, np.inf, np.float32)
    for number, solid in enumerate(solids):
        window = _window(camera, solid)
        y, x = np.mgrid[window].reshape(2, -1)
        met = hit(solid, camera.position[:, None], camera.rays(y + 0.5, x + 0.5))
        met = met.reshape(distance[window].shape)
        nearer = met < distance[window]
        distance[window][nearer] = met[nearer]
        owner[window][nearer] = number
    return owner, distance


def sample(camera: Camera, solids: list[Solid], owner, distance) -> Samples:
    """What is to be shaded, from `owner` and `distance` of `look`: four rays where edges run."""
    silhouette = _changes(owner)
    inside = np.flatnonzero((owner != NO_OBJECT) & ~silhouette)
    edge = np.flatnonzero(silhouette)
    y, x = np.divmod(inside, camera.width)
    inside_rays = camera.rays(y + 0.5, x + 0.5)
    y, x = np.divmod(edge, camera.width)
    y = np.concatenate([y + (0.5 + down) for down, _ in SUBPIXELS])
    x = np.concatenate([x + (0.5 + right) for _, right in SUBPIXELS])
    edge_rays = camera.rays(y, x)
    edge_solid, edge_distance = _nearest(camera, solids, edge_rays, y, x)
    return Samples(
        inside=inside,
        inside_solid=owner.ravel()[inside],
        inside_rays=inside_rays,
        inside_distance=distance.ravel()[inside],
        edge=edge,
        edge_rays=edge_rays.reshape(3, len(SUBPIXELS), -1),
        edge_solid=edge_solid.reshape(len(SUBPIXELS), -1),
        edge_distance=edge_distance.reshape(len(SUBPIXELS), -1),
    )


def _window(camera: Camera, solid: Solid) -> tuple[slice, slice]:
    """Rows and columns of the pixels that may see the solid."""
    if solid.shape == "sphere":
        # Off the optical axis it shows as an ellipse, longer by up to the ratio of the distances.
        x, y, depth = camera.project(solid.center)
        away = np.linalg.norm(solid.center - camera.position)
        reach = camera.focal * solid.size / np.sqrt(depth**2 - solid.size**2) * away / depth
        x, y = np.array([x - reach, x + reach]), np.array([y - reach, y + reach])
    else:
        corners = solid.center[:, None] + turned(solid.size * CORNERS, -solid.turn)
        x, y, _ = camera.project(corners.T).T
    limits = []
    for values, length in ((y, camera.height), (x, camera.width)):
        limits.append(slice(max(int(values.min()), 0), min(max(int(values.max()) + 1, 0), length)))
    return limits[0], limits[1]


def _changes(owner) -> np.ndarray:
    """Pixels, bool `[H, W]`, whose owner is not that of all four neighbours."""
    changes = np.zeros(owner.shape, bool)
    down, right = owner[1:] != owner[:-1], owner[:, 1:] != owner[:, :-1]
    changes[1:] |= down
    changes[:-1] |= down
    changes[:, 1:] |= right
    changes[:, :-1] |= right
    return changes


def _nearest(camera: Camera, solids, rays, y, x):
    """The solid `[P]` that each ray through the image point (y, x) meets first, and the distance."""
    solid = np.full(rays.shape[1], NO_OBJECT, np.int8)
    distance = np.full(rays.shape[1], np.inf, np.float32)
    for number, thing in enumerate(solids):
        rows, columns = _window(camera, thing)
        candidates = np.flatnonzero((y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop))
        met = hit(thing, camera.position[:, None], rays[:, candidates])
        nearer = met < distance[candidates]
        distance[candidates[nearer]] = met[nearer]
        solid[candidates[nearer]] = number
    return solid, distance
