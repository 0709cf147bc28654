"""Random scenes in the manner of CLEVR (Johnson et al. 2017), rendered on the spot.

The rules are CLEVR's: 3 to 10 objects on a square of 6 x 6 units, at least 0.25 between any two, at least 0.4 apart
along each of the four directions, at least 200 visible pixels of each at 320 x 240; an object stands in a direction of
another if it lies more than 0.2 units that way; camera and lamps are jittered. A scene depends on (seed, index) alone.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dsg_tf.data import clevr_classes, raycast
from dsg_tf.data.raycast import Camera, Light, Solid
from dsg_tf.data.scene import Scene

VOCABULARY = clevr_classes.VOCABULARY
# CLEVR's palette; its renderer takes these numbers / 255 as linear light.
PALETTE = {"gray": (87, 87, 87), "red": (173, 35, 35), "blue": (42, 75, 215), "green": (29, 105, 20),
           "brown": (129, 74, 25), "purple": (129, 38, 192), "cyan": (41, 208, 208), "yellow": (255, 238, 51)}
SIZES = (0.7, 0.35)
CUBE_SHRINK = 0.95  # A cube's half side, of the radius of the other shapes; as measured on CLEVR's boxes.
COUNTS = (3, 10)
EXTENT = 3.0
MIN_DISTANCE = 0.25
MARGIN = 0.4
RELATION_EPS = 0.2
MIN_PIXELS = 200 / (320 * 240)  # Share of the image.
TRIES = 50

CAMERA = (7.40, -6.50, 5.30)
CAMERA_JITTER = 0.5
TARGET = (0.0, 0.0, 0.0)
# Position, power, radius of the half shadow: key, fill and back lamp.
LAMPS = (((6.45, -2.91, 4.26), 11.0, 0.5), ((-4.67, -4.01, 3.01), 5.0, 1.5), ((-1.17, 2.65, 5.82), 4.0, 0.8))
LAMP_JITTER = 1.0
GAMMA = 255 * np.linspace(0, 1, 4096, dtype=np.float32) ** (1 / 2.2)  # Linear light to 8-bit display values.
AMBIENT = 0.20
GROUND = 0.46


def render_scene(seed: int, index: int, height: int = 240, width: int = 320) -> Scene:
    """Scene ``index`` of ``seed``: the same bytes whenever and wherever it is rendered.

    Args:
      seed, index: not negative.
      height, width: of the image, pixels.

    Returns:
      A `Scene` whose boxes are the exact extents of the visible pixels.
    """
    rng = np.random.default_rng([seed, index])
    while True:
        camera = Camera.looking_at(CAMERA + rng.uniform(-1, 1, 3) * CAMERA_JITTER, TARGET, height, width)
        lights = [Light((position + rng.uniform(-1, 1, 3) * LAMP_JITTER).astype(np.float32), power, radius)
                  for position, power, radius in LAMPS]
        solids, words = _place(rng, camera)
        view = raycast.look(camera, solids)
        owners = view.owners()
        if np.bincount(owners[owners >= 0], minlength=len(solids)).min() >= MIN_PIXELS * height * width:
            break
    picture = raycast.shade(view, lights, AMBIENT, GROUND)
    return Scene(
        image_id=f"synthetic_{seed}_{index:06d}.jpg", image=_encode(picture, rng), height=height, width=width,
        boxes=visible_boxes(owners, len(solids)),
        entities=np.array([clevr_classes.entity_id(*w) for w in words], np.int64),
        relations=spatial_relations(np.array([s.center for s in solids]), directions(camera)))


def directions(camera: Camera) -> np.ndarray:
    """Unit vectors on the plane, float ``[4, 3]``, in the order of `clevr_classes.RELATIONS`, as the camera sees them."""
    right, _, forward = camera.axes
    flat = np.array([-right, right, -forward, forward]) * [1, 1, 0]
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def spatial_relations(positions: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """All relations that hold.

    Args:
      positions: float ``[M, 3]``.
      ways: float ``[R, 3]``, unit vectors.

    Returns:
      int64 ``[T, 3]``, rows (subject, relation, object): the subject lies more than 0.2 from the object that way.
    """
    steps = (positions[:, None] - positions[None]) @ ways.T  # [subject, object, relation]
    subject, obj, relation = np.nonzero(steps > RELATION_EPS)
    return np.stack([subject, relation, obj], axis=1).astype(np.int64)


def visible_boxes(owner: np.ndarray, count: int) -> np.ndarray:
    """Extents ``[count, 4]`` (y0, x0, y1, x1; ends exclusive) of the pixels of each object in an index map."""
    boxes = []
    for number in range(count):
        rows, columns = np.nonzero(owner == number)
        boxes.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    return np.array(boxes, np.float32)


def _place(rng, camera: Camera) -> tuple[list[Solid], list[tuple[str, str, str]]]:
    """Objects that keep CLEVR's distances, and their (colour, shape, material); begins anew when stuck."""
    ways = directions(camera)
    count = rng.integers(COUNTS[0], COUNTS[1] + 1)
    solids, words = [], []
    while len(solids) < count:
        size, shape = rng.choice(SIZES), str(rng.choice(clevr_classes.SHAPES))
        for _ in range(TRIES):
            center = np.array([*rng.uniform(-EXTENT, EXTENT, 2), size], np.float32)
            if _keeps_distance(center, size, solids, ways):
                break
        else:
            solids, words = [], []
            continue
        color, material = str(rng.choice(clevr_classes.COLORS)), str(rng.choice(clevr_classes.MATERIALS))
        half = size * CUBE_SHRINK if shape == "cube" else size
        center[2] = half
        solids.append(Solid(shape, center, float(half), float(rng.uniform(0, 2 * np.pi)),
                            np.array(PALETTE[color], np.float32) / 255, material == "metal"))
        words.append((color, shape, material))
    return solids, words


def _keeps_distance(center, size, solids, ways) -> bool:
    if not solids:
        return True
    steps = (center - np.array([s.center for s in solids])) * [1, 1, 0]
    gaps = np.linalg.norm(steps, axis=1) - size - np.array([s.size for s in solids])
    return gaps.min() >= MIN_DISTANCE and np.abs(steps @ ways[::2].T).min() >= MARGIN


def _encode(picture: np.ndarray, rng) -> bytes:
    """Linear light to JPEG, with a little sensor noise."""
    display = GAMMA[(np.clip(picture, 0, 1) * (len(GAMMA) - 1)).astype(np.int16)]
    display += rng.standard_normal(picture.shape[:2], np.float32)[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.clip(display, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
