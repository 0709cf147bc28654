"""Random scenes in the manner of CLEVR (Johnson et al. 2017), rendered on the spot.

The rules are CLEVR's: 3 to 10 objects on a square of 6 x 6 units, at least 0.25 between any two, at least 0.4 apart
along each of the four directions, at least 200 visible pixels of each at 320 x 240; an object stands in a direction of
another if it lies more than 0.2 units that way; camera and lamps are jittered. A scene depends on (seed, index) alone.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dsg_tf.data import clevr_classes
from dsg_tf.data.scene import Scene
from dsg_tf.data.synthetic import raycast, shading
from dsg_tf.data.synthetic.raycast import NO_OBJECT, Camera
from dsg_tf.data.synthetic.shading import Lamp
from dsg_tf.data.synthetic.solids import Solid

VOCABULARY = clevr_classes.VOCABULARY
KINDS = clevr_classes.COLORS, clevr_classes.SHAPES, clevr_classes.MATERIALS
# CLEVR's palette; its renderer takes these numbers / 255 as linear light.
PALETTE = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
SIZES = (0.7, 0.35)
COUNTS = (3, 10)
EXTENT = 3.0
MIN_DISTANCE = 0.25
MARGIN = 0.4
RELATION_EPS = 0.2
MIN_PIXELS = 200 / (320 * 240)  # A share of the image.
TRIES = 50

CAMERA = np.array([7.48113, -6.50764, 5.34367], np.float32)
CAMERA_JITTER = 0.5
# Position, power, radius: the key, fill and back lamp, which shine toward the origin.
LAMPS = (
    ((6.45, -2.91, 4.26), (5.39, 5.04, 4.25), 0.4),
    ((-4.67, -4.01, 3.01), (1.04, 1.12, 1.46), 0.5),
    ((-1.17, 2.65, 5.82), (2.90, 2.91, 2.81), 0.5),
)
LAMP_JITTER = 1.0
# A lamp so far that its light is the same everywhere; it is not jittered.
SUN = Lamp(
    position=np.array([824, -390, 1778], np.float32),
    toward=np.array([-0.412, 0.195, -0.889], np.float32),
    power=np.array([4.0e5, 4.0e5, 4.0e5], np.float32),
    radius=45.0,
    gloss=2.0,
)
JPEG_QUALITY = 90
LIGHT = np.linspace(0, 1, 2**14)
# The sRGB display value of each step of linear light.
DISPLAY = np.where(LIGHT <= 0.0031308, 12.92 * LIGHT, 1.055 * LIGHT ** (1 / 2.4) - 0.055)
DISPLAY = np.round(255 * DISPLAY).astype(np.uint8)


def render_scene(seed: int, index: int, height: int = 240, width: int = 320) -> Scene:
    """Scene `index` of `seed`: the same bytes in whatever process and order.

    Args:
      seed: not negative.
      index: not negative.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      A `Scene` whose boxes are the exact extents of the visible pixels.
    """
    rng = np.random.default_rng([seed, index])
    camera, solids, classes, owner, distance = _visible_scene(rng, height, width)
    samples = raycast.sample(camera, solids, owner, distance)
    lamps = [SUN] + [_jittered_lamp(rng, *lamp) for lamp in LAMPS]
    picture = shading.paint(camera, solids, lamps, samples)
    return Scene(
        image_id=f"synthetic_{seed}_{index:06d}.jpg",
        image=_encode(picture),
        height=height,
        width=width,
        boxes=visible_boxes(owner, len(solids)),
        entities=np.array(classes, np.int64),
        relations=spatial_relations([solid.center for solid in solids], directions(camera)),
    )


def directions(camera: Camera) -> np.ndarray:
    """Unit vectors on the plane, float64 `[4, 3]`, in the order of `clevr_classes.RELATIONS`."""
    right, _, forward = camera.axes.astype(np.float64)
    flat = np.stack([-right, right, -forward, forward]) * [1, 1, 0]
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def spatial_relations(positions, ways) -> np.ndarray:
    """All relations that hold.

    Args:
      positions: float `[M, 3]`, in world coordinates.
      ways: float `[R, 3]`, the unit vector of each relation.

    Returns:
      int64 `[T, 3]`, rows (subject, relation, object): the subject lies more than `RELATION_EPS` from the object that
      way.
    """
    positions = np.asarray(positions, np.float64)
    steps = (positions[:, None] - positions[None]) @ np.asarray(ways).T
    subjects, objects, relations = np.nonzero(steps > RELATION_EPS)
    return np.stack([subjects, relations, objects], axis=1).astype(np.int64)


def visible_boxes(owner: np.ndarray, count: int) -> np.ndarray:
    """Extents float32 `[count, 4]` of the pixels of each object of a map int `[H, W]`, all visible.

    Returns:
      Rows y0, x0, y1, x1 in pixels, the ends exclusive.
    """
    boxes = np.empty([count, 4], np.float32)
    for number in range(count):
        rows = np.flatnonzero((owner == number).any(axis=1))
        columns = np.flatnonzero((owner == number).any(axis=0))
        boxes[number] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def _visible_scene(rng, height: int, width: int):
    """A camera, objects of which it sees enough, their classes, what it sees."""
    count = rng.integers(COUNTS[0], COUNTS[1] + 1)
    while True:
        position = CAMERA + rng.uniform(-CAMERA_JITTER, CAMERA_JITTER, 3)
        camera = Camera.looking_at(position, (0, 0, 0), height, width)
        solids, classes = _place(rng, directions(camera), count)
        owner, distance = raycast.look(camera, solids)
        pixels = np.bincount(owner[owner != NO_OBJECT], minlength=count)
        if pixels.min() >= MIN_PIXELS * height * width:
            return camera, solids, classes, owner, distance


def _place(rng, ways, count: int) -> tuple[list[Solid], list[int]]:
    """Objects that keep CLEVR's distances, and their entity classes."""
    solids: list[Solid] = []
    classes: list[int] = []
    while len(solids) < count:
        size = SIZES[rng.integers(len(SIZES))]
        spots = rng.uniform(-EXTENT, EXTENT, (TRIES, 2))
        free = np.flatnonzero(_keep_distance(spots, size, solids, ways))
        if not len(free):  # Too crowded: begin anew.
            solids, classes = [], []
            continue
        center = np.array([*spots[free[0]], size], np.float32)
        color, shape, material = (words[rng.integers(len(words))] for words in KINDS)
        reflected = np.array(PALETTE[color], np.float32) / 255
        turn = float(rng.uniform(0, 2 * np.pi))
        solids.append(Solid(shape, center, size, turn, reflected, material == "metal"))
        classes.append(clevr_classes.entity_id(color, shape, material))
    return solids, classes


def _keep_distance(spots, size: float, solids, ways) -> np.ndarray:
    """Which of the spots `[S, 2]` have room for an object beside the others, bool `[S]`."""
    if not solids:
        return np.ones(len(spots), bool)
    steps = spots[:, None] - np.stack([solid.center[:2] for solid in solids])  # [S, solids, 2]
    gaps = np.linalg.norm(steps, axis=-1) - size - [solid.size for solid in solids]
    along = np.abs(steps @ ways[:, :2].T)  # [S, solids, 4]
    return (gaps.min(axis=1) >= MIN_DISTANCE) & (along.min(axis=(1, 2)) >= MARGIN)


def _jittered_lamp(rng, position, power, radius: float) -> Lamp:
    position = np.array(position, np.float32)
    moved = position + rng.uniform(-LAMP_JITTER, LAMP_JITTER, 3).astype(np.float32)
    return Lamp(moved, -position / np.linalg.norm(position), np.array(power, np.float32), radius)


def _encode(picture: np.ndarray) -> bytes:
    """Linear light to an sRGB JPEG."""
    steps = np.clip(picture, 0, 1) * np.float32(len(DISPLAY) - 1)
    buffer = io.BytesIO()
    Image.fromarray(DISPLAY.take(steps.astype(np.uint16))).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
