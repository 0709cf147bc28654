"""The ray caster against geometry done by hand."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsg_tf.data import raycast
from dsg_tf.data.raycast import Camera, Light, Solid

HEIGHT, WIDTH = 240, 320
SHAPES = ("cube", "sphere", "cylinder")
CAMERA = Camera.looking_at([7.4, -6.5, 5.3], [0, 0, 0], HEIGHT, WIDTH)
GRAY = np.full(3, 0.5, np.float32)
COORDINATE = st.floats(-3, 3, width=32)


def solid(shape, center, size=0.7, turn=0.0):
    return Solid(shape, np.array(center, np.float32), size, turn, GRAY, shiny=False)


def owners(camera, *solids):
    return raycast.look(camera, list(solids)).owners()


def extent(mask):
    """[y0, x0, y1, x1] of the true pixels, ends exclusive."""
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    return [rows.argmax(), columns.argmax(), len(rows) - rows[::-1].argmax(), len(columns) - columns[::-1].argmax()]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(x=COORDINATE, y=COORDINATE, z=st.floats(0, 2, width=32), shape=st.sampled_from(SHAPES))
def test_the_ray_through_a_projected_point_hits_it(x, y, z, shape):
    point = np.array([x, y, z])
    column, row, depth = CAMERA.project(point)
    # By hand: depth is the distance along the line of sight.
    sight = -CAMERA.position.astype(np.float64) / np.linalg.norm(CAMERA.position)
    assert depth == pytest.approx((point - CAMERA.position) @ sight, rel=1e-5)
    hypothesis.assume(1 <= column < WIDTH - 1 and 1 <= row < HEIGHT - 1)
    fine = 1024  # Samples a side of a pixel, so that one of them lies at the point.
    i, j = int(row * fine), int(column * fine)
    ray = CAMERA.rays(slice(i, i + 1, 1), slice(j, j + 1, 1), fine)[:, 0, 0]
    assert np.linalg.norm(ray) == pytest.approx(1, abs=1e-6)
    reached = CAMERA.position + ray * np.linalg.norm(point - CAMERA.position)
    np.testing.assert_allclose(reached, point, atol=1e-3)
    # A small object at the point is what its pixel shows, and nothing else of the image is.
    seen = owners(CAMERA, solid(shape, point, size=0.06))
    assert seen[int(row), int(column)] == 0
    y0, x0, y1, x1 = extent(seen == 0)
    assert y0 <= row <= y1 and x0 <= column <= x1 and max(y1 - y0, x1 - x0) < 16


@pytest.mark.parametrize("samples", [1, 2])
def test_rays_go_through_the_centres_of_the_samples(samples):
    rays = CAMERA.rays(slice(0, HEIGHT * samples, 1), slice(1, WIDTH * samples, 3), samples)
    assert rays.shape == (3, HEIGHT * samples, -(-(WIDTH * samples - 1) // 3)) and rays.dtype == np.float32
    pixels = CAMERA.project(CAMERA.position + 7 * np.moveaxis(rays, 0, -1))
    rows, columns = np.arange(HEIGHT * samples), np.arange(1, WIDTH * samples, 3)
    np.testing.assert_allclose(pixels[..., 0], np.broadcast_to((columns + 0.5) / samples, rays.shape[1:]), atol=2e-3)
    np.testing.assert_allclose(pixels[..., 1].T, np.broadcast_to((rows + 0.5) / samples, rays.T.shape[:2]), atol=2e-3)


def test_the_camera_has_its_target_in_the_centre_and_a_level_horizon():
    camera = Camera.looking_at([3, -4, 5], [0.5, 1, 0.2], 100, 200)
    np.testing.assert_allclose(camera.project([0.5, 1, 0.2])[:2], [100, 50], atol=1e-4)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-6)
    assert camera.axes[0, 2] == 0 and camera.axes[1, 2] < 0 and np.linalg.det(camera.axes) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("center", [(0, 0, 0.7), (2.5, 2.0, 0.35), (-2.8, -2.0, 1.0), (2.9, -2.9, 0.5)])
@pytest.mark.parametrize("radius", [0.35, 0.7])
def test_the_silhouette_of_a_sphere_is_the_conic_of_its_tangent_cone(center, radius):
    view = raycast.look(CAMERA, [solid("sphere", center, radius)])
    x, y, depth = CAMERA.axes.astype(np.float64) @ (np.array(center) - CAMERA.position)
    ends = []
    for across, middle in ((y, HEIGHT / 2), (x, WIDTH / 2)):  # The tangent planes through the camera's other axis.
        angle, half = np.arctan2(across, depth), np.arcsin(radius / np.hypot(across, depth))
        ends.append([middle + CAMERA.focal * np.tan(angle + sign * half) for sign in (-1, 1)])
    expected = [ends[0][0], ends[1][0], ends[0][1], ends[1][1]]
    np.testing.assert_allclose(extent(view.owners() == 0), expected, atol=1)
    # The ellipse has the half axes focal * sin * cos / slack and focal * sin / sqrt(slack), of the cone's half angle.
    distance = np.sqrt(x**2 + y**2 + depth**2)
    sin, cos = radius / distance, np.sqrt(1 - (radius / distance) ** 2)
    slack = (depth / distance) ** 2 - sin**2
    area = np.pi * CAMERA.focal**2 * sin**2 * cos / slack**1.5
    assert (view.index == 0).sum() / raycast.SAMPLES**2 == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize(["shape", "turn", "width"], [
    ("cube", 0, 2 * 0.7 / (8 - 0.7)), ("cube", np.pi / 2, 2 * 0.7 / (8 - 0.7)),
    ("cube", np.pi / 4, 2 * 0.7 * np.sqrt(2) / 8), ("cylinder", 0.3, 2 * 0.7 / np.sqrt(8**2 - 0.7**2))])
def test_an_object_seen_from_the_front_is_as_wide_as_geometry_says(shape, turn, width):
    camera = Camera.looking_at([0, -8, 0.7], [0, 0, 0.7], HEIGHT, WIDTH)
    y0, x0, y1, x1 = extent(owners(camera, solid(shape, [0, 0, 0.7], 0.7, turn)) == 0)
    # An edge is drawn up to 3/4 of a pixel outside and 1/4 inside, as a pixel needs no more than half of its samples.
    assert -0.5 <= x1 - x0 - 350 * width <= 1.5
    assert (x0 + x1) / 2 == pytest.approx(160, abs=0.5) and (y0 + y1) / 2 == pytest.approx(120, abs=0.5)
    nearest = 8 - 0.7 * (np.sqrt(2) if turn == np.pi / 4 else 1)
    assert -0.5 <= y1 - y0 - 350 * 2 * 0.7 / nearest <= 1.5


@pytest.mark.parametrize("shape", ["cube", "cylinder"])
def test_the_top_of_an_object_is_seen_at_its_height(shape):
    camera = Camera.looking_at([0, -1e-3, 5], [0, 0, 0], HEIGHT, WIDTH)
    y0, x0, y1, x1 = extent(owners(camera, solid(shape, [0, 0, 0.9], 0.9)) == 0)
    for side in (y1 - y0, x1 - x0):
        assert -0.5 <= side - 350 * 2 * 0.9 / (5 - 1.8) <= 1.5


@pytest.mark.parametrize("front", SHAPES)
@pytest.mark.parametrize("back", SHAPES)
def test_the_nearer_object_owns_the_shared_pixels(front, back):
    near, far = solid(front, [1.0, -0.8, 0.9], 0.35, 0.2), solid(back, [0, 0, 0.7], 0.7, 1.0)
    alone = [raycast.look(CAMERA, [thing]).index == 0 for thing in (near, far)]
    assert (alone[0] & alone[1]).sum() > 400 and (alone[1] & ~alone[0]).sum() > 400
    expected = np.where(alone[0], 0, np.where(alone[1], 1, raycast.NO_OBJECT))
    np.testing.assert_array_equal(raycast.look(CAMERA, [near, far]).index, expected)
    np.testing.assert_array_equal(raycast.look(CAMERA, [far, near]).index, np.array([1, 0, -1])[expected])


def brightness(camera, solids, lamp, pixel):
    row, column = pixel
    return raycast.shade(raycast.look(camera, solids), [lamp], ambient=0.0, ground=0.5)[row, column]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_point_in_the_shadow_of_an_object_is_darker_than_without_it(shape):
    camera = Camera.looking_at([-1, -5, 6], [0, 0, 0], HEIGHT, WIDTH)
    lamp = Light(np.array([4, 0, 2.5], np.float32), 10.0, 0.2)
    caster = solid(shape, [1.5, 0, 0.7])
    # One point of the plane on the line from the lamp through the centre of the object, one beside it.
    step = (caster.center - lamp.position) / (lamp.position[2] - caster.center[2])
    shaded, lit = lamp.position + step * lamp.position[2], np.array([1.5, -2.5, 0.0])
    pixels = [tuple(camera.project(point)[1::-1].astype(int)) for point in (shaded, lit)]
    without = [brightness(camera, [], lamp, pixel) for pixel in pixels]
    within = [brightness(camera, [caster], lamp, pixel) for pixel in pixels]
    assert owners(camera, caster)[pixels[0]] == raycast.NO_OBJECT
    # Of a plane under one lamp: power * cosine / distance squared.
    distance = np.linalg.norm(shaded - lamp.position)
    np.testing.assert_allclose(without[0], 0.5 * 10.0 * 2.5 / distance**3, rtol=0.01)
    assert within[0].max() < 0.01 * without[0].min()
    np.testing.assert_array_equal(within[1], without[1])
    # Another object there loses its light as well.
    receiver = solid("sphere", [0.2, 0, 0.3], 0.3)
    pixel = tuple(camera.project(receiver.center)[1::-1].astype(int))
    alone, beside = (brightness(camera, solids, lamp, pixel) for solids in ([receiver], [receiver, caster]))
    assert 0.01 < alone.min() and beside.max() < 0.5 * alone.min()
    # One between the lamp and the object does not.
    receiver = solid("sphere", [3, 0, 1.4], 0.3)
    pixel = tuple(camera.project(receiver.center + [0, -0.18, 0.24])[1::-1].astype(int))
    alone, beside = (brightness(camera, solids, lamp, pixel) for solids in ([receiver], [receiver, caster]))
    assert 0.01 < alone.min() and np.array_equal(alone, beside)


def test_an_object_does_not_darken_itself():
    cube = solid("cube", [0, 0, 0.7])
    row, column, _ = CAMERA.project([0, 0, 1.4])[[1, 0, 2]].astype(int)
    picture = raycast.shade(raycast.look(CAMERA, [cube]), [], ambient=0.2, ground=0.5)
    np.testing.assert_allclose(picture[row, column], 0.2 * GRAY, rtol=1e-5)
    assert picture.dtype == np.float32 and picture.shape == (HEIGHT, WIDTH, 3)
