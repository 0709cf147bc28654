"""The ray caster against geometry done by hand, and the light where it can be computed by hand."""

import numpy as np
import pytest
from plain_geometry import extent

from dsg_tf.data.synthetic import raycast, shading
from dsg_tf.data.synthetic import solids as solid_lib
from dsg_tf.data.synthetic.raycast import NO_OBJECT, Camera
from dsg_tf.data.synthetic.solids import Solid

HEIGHT, WIDTH = 240, 320
SHAPES = ("cube", "sphere", "cylinder")
CAMERA = Camera.looking_at([7.4, -6.5, 5.3], [0, 0, 0], HEIGHT, WIDTH)
GRAY = np.full(3, 0.5, np.float32)


def solid(shape, center, size=0.7, turn=0.0, metal=False):
    return Solid(shape, np.array(center, np.float32), size, turn, GRAY, metal)


def owners(camera, *solids):
    return raycast.look(camera, list(solids))[0]


def sampled(camera, solids):
    return raycast.sample(camera, solids, *raycast.look(camera, solids))


def test_the_ray_through_a_projected_point_hits_it():
    points = np.random.default_rng(0).uniform([-3, -3, 0], [3, 3, 2], (50, 3))
    x, y, depth = CAMERA.project(points).T
    # By hand: depth is the distance along the line of sight, which goes through the origin.
    sight = -CAMERA.position.astype(np.float64) / np.linalg.norm(CAMERA.position)
    np.testing.assert_allclose(depth, (points - CAMERA.position) @ sight, rtol=1e-5)
    rays = CAMERA.rays(y, x)
    assert rays.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rays, axis=0), 1, atol=1e-6)
    away = np.linalg.norm(points - CAMERA.position, axis=1)
    np.testing.assert_allclose(CAMERA.position + (rays * away).T, points, atol=1e-4)


def test_the_camera_has_its_target_in_the_centre_and_a_level_horizon():
    camera = Camera.looking_at([3, -4, 5], [0.5, 1, 0.2], 100, 200)
    np.testing.assert_allclose(camera.project([0.5, 1, 0.2])[:2], [100, 50], atol=1e-4)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-6)
    assert camera.axes[0, 2] == 0 and camera.axes[1, 2] < 0
    assert np.linalg.det(camera.axes) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("center", [(0, 0, 0.7), (2.5, 2.0, 0.35), (-2.8, -2.0, 1.0), (2.9, -2.9, 0.5)])
@pytest.mark.parametrize("radius", [0.35, 0.7])
def test_the_silhouette_of_a_sphere_is_the_conic_of_its_tangent_cone(center, radius):
    seen = owners(CAMERA, solid("sphere", center, radius)) == 0
    x, y, depth = CAMERA.axes.astype(np.float64) @ (np.array(center) - CAMERA.position)
    ends = []
    for across, middle in ((y, HEIGHT / 2), (x, WIDTH / 2)):  # The planes that touch the sphere.
        angle, half = np.arctan2(across, depth), np.arcsin(radius / np.hypot(across, depth))
        ends.append([middle + CAMERA.focal * np.tan(angle + sign * half) for sign in (-1, 1)])
    expected = [ends[0][0], ends[1][0], ends[0][1], ends[1][1]]
    np.testing.assert_allclose(extent(seen), expected, atol=1)
    # Half axes: focal * sin * cos / slack and focal * sin / sqrt(slack), of the cone's half angle.
    distance = np.sqrt(x**2 + y**2 + depth**2)
    sin, cos = radius / distance, np.sqrt(1 - (radius / distance) ** 2)
    slack = (depth / distance) ** 2 - sin**2
    area = np.pi * CAMERA.focal**2 * sin**2 * cos / slack**1.5
    assert seen.sum() == pytest.approx(area, rel=0.03)


@pytest.mark.parametrize(
    ["shape", "turn", "width"],
    [
        ("cube", 0, 2 * 0.7 / (8 - 0.8 * 0.7)),  # Where the flat of the front ends, at the most.
        ("cube", np.pi / 2, 2 * 0.7 / (8 - 0.8 * 0.7)),
        ("cube", np.pi / 4, 2 * 0.7 * (0.8 * np.sqrt(2) + 0.2) / 8),
        ("cylinder", 0.3, 2 * 0.7 / np.sqrt(8**2 - 0.7**2)),
    ],
)
def test_an_object_seen_from_the_front_is_as_wide_as_geometry_says(shape, turn, width):
    camera = Camera.looking_at([0, -8, 0.7], [0, 0, 0.7], HEIGHT, WIDTH)
    y0, x0, y1, x1 = extent(owners(camera, solid(shape, [0, 0, 0.7], 0.7, turn)) == 0)
    assert x1 - x0 == pytest.approx(350 * width, abs=1.5)
    assert (x0 + x1) / 2 == pytest.approx(160, abs=0.5)
    assert (y0 + y1) / 2 == pytest.approx(120, abs=0.5)


@pytest.mark.parametrize("front", SHAPES)
@pytest.mark.parametrize("back", SHAPES)
def test_the_nearer_object_owns_the_shared_pixels(front, back):
    near, far = solid(front, [1.0, -0.8, 0.9], 0.35, 0.2), solid(back, [0, 0, 0.7], 0.7, 1.0)
    alone = [owners(CAMERA, thing) == 0 for thing in (near, far)]
    assert (alone[0] & alone[1]).sum() > 100 and (alone[1] & ~alone[0]).sum() > 100
    expected = np.where(alone[0], 0, np.where(alone[1], 1, NO_OBJECT))
    np.testing.assert_array_equal(owners(CAMERA, near, far), expected)
    np.testing.assert_array_equal(owners(CAMERA, far, near), np.array([1, 0, -1])[expected])


@pytest.mark.parametrize("shape", SHAPES)
def test_hits_lie_on_the_surface_and_normals_are_its_gradient(shape):
    thing = solid(shape, [0.3, -0.2, 0.7], 0.7, 0.4)
    samples = sampled(CAMERA, [thing])
    met = samples.edge_solid == 0
    rays = np.concatenate([samples.inside_rays, samples.edge_rays[:, met]], axis=1)
    distance = np.concatenate([samples.inside_distance, samples.edge_distance[met]])
    points = CAMERA.position[:, None] + rays * distance
    np.testing.assert_allclose(outside(thing, points), 0, atol=0.005)
    normals = solid_lib.normals(thing, points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-4)
    step = 1e-3
    for axis in range(3):
        moved = np.zeros([3, 1])
        moved[axis] = step
        slope = (outside(thing, points + moved) - outside(thing, points - moved)) / (2 * step)
        assert np.abs(slope - normals[axis]).mean() < 0.02
    assert (solid_lib.dot(normals, rays) < 0.1).all()


def outside(thing, points):
    """Distances from points at or outside a rounded solid, in float64 and from the definition."""
    x, y, z = points.astype(np.float64) - thing.center[:, None].astype(np.float64)
    if thing.shape == "sphere":
        return np.sqrt(x**2 + y**2 + z**2) - thing.size
    radius = solid_lib.ROUNDING[thing.shape] * thing.size
    core = thing.size - radius
    cos, sin = np.cos(thing.turn), np.sin(thing.turn)
    if thing.shape == "cube":
        parts = [cos * x + sin * y, cos * y - sin * x, z]
    else:
        parts = [np.hypot(x, y), z]
    return np.sqrt(sum(np.maximum(np.abs(part) - core, 0) ** 2 for part in parts)) - radius


def test_an_edge_pixel_has_four_rays_and_an_inner_one_its_centre():
    solids = [solid("cube", [0, 0, 0.7]), solid("sphere", [1, -2, 0.35], 0.35)]
    samples, owner = sampled(CAMERA, solids), owners(CAMERA, *solids).ravel()
    inside, edge = samples.inside, samples.edge
    assert not set(inside) & set(edge)
    np.testing.assert_array_equal(samples.inside_solid, owner[inside])
    assert set(np.flatnonzero(owner != NO_OBJECT)) <= set(inside) | set(edge)
    np.testing.assert_allclose(beside_centre(samples.inside_rays, inside), 0, atol=1e-2)
    offsets = np.stack([beside_centre(rays, edge) for rays in samples.edge_rays.swapaxes(0, 1)])
    np.testing.assert_allclose(np.abs(offsets), 0.25, atol=1e-2)
    np.testing.assert_allclose(offsets.sum(axis=0), 0, atol=2e-2)
    # Where all four rays meet one object, so does the one through the centre.
    agreed = (samples.edge_solid == samples.edge_solid[0]).all(axis=0)
    assert 0.2 < agreed.mean() < 0.8
    assert (samples.edge_solid[0] == owner[edge])[agreed].mean() > 0.99


def beside_centre(rays, pixels):
    """Where rays [3, P] from the camera cross the image, from the centres of the pixels [P]."""
    y, x = np.divmod(pixels, WIDTH)
    return CAMERA.project(CAMERA.position + 9 * rays.T)[:, :2] - np.stack([x, y], axis=1) - 0.5


def picture(camera, solids, lamps):
    return shading.paint(camera, solids, lamps, sampled(camera, solids))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_point_in_the_shadow_of_an_object_is_darker_than_without_it(shape):
    camera = Camera.looking_at([-1, -5, 6], [0, 0, 0], HEIGHT, WIDTH)
    position = np.array([4, 0, 2.5], np.float32)
    toward = np.float32([-1, 0, 0])
    lamp = shading.Lamp(position, toward, np.full(3, 10, np.float32), 0.2)
    caster = solid(shape, [1.5, 0, 0.7])
    # A point of the plane on the line from the lamp through the object's centre, one beside it.
    step = (caster.center - position) / (position[2] - caster.center[2])
    shaded, lit = position + step * position[2], np.array([1.5, -2.5, 0.0])
    pixels = [tuple(camera.project(point)[1::-1].astype(int)) for point in (shaded, lit)]
    without, within = picture(camera, [], [lamp]), picture(camera, [caster], [lamp])
    assert owners(camera, caster)[pixels[0]] == NO_OBJECT
    # Power * cosine at the lamp * cosine at the plane / distance squared.
    to_lamp = position - shaded
    distance = np.linalg.norm(to_lamp)
    expected = 10 * (to_lamp[0] / distance) * (to_lamp[2] / distance) / distance**2
    np.testing.assert_allclose(without[pixels[0]] - shading.AMBIENT, expected, rtol=0.02)
    np.testing.assert_allclose(within[pixels[0]], shading.AMBIENT, rtol=0.02)
    np.testing.assert_array_equal(within[pixels[1]], without[pixels[1]])
    # Another object there loses its light as well.
    receiver = solid("sphere", [0.2, 0, 0.3], 0.3)
    pixel = tuple(camera.project(receiver.center)[1::-1].astype(int))
    alone, beside = (picture(camera, s, [lamp])[pixel] for s in ([receiver], [receiver, caster]))
    lit, shaded = (color - GRAY * shading.OBJECT_AMBIENT[0] for color in (alone, beside))
    assert lit.min() > 0.01 and shaded.max() < 0.2 * lit.min()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("position", [(-4.7, -4, 2.4), (41, -20, 89)])
def test_the_windows_of_shadows_leave_nothing_out(shape, position, monkeypatch):
    position = np.float32(position)
    square = position @ position
    lamp = shading.Lamp(position, -position / np.sqrt(square), np.full(3, square), 0.5)
    solids = [solid(shape, [-1, 1, 0.7]), solid(shape, [1.5, -1, 0.35], 0.35)]
    windowed = picture(CAMERA, solids, [lamp])
    whole = [(slice(None), slice(None))] * len(solids)
    monkeypatch.setattr(shading, "_shadow_windows", lambda *_: whole)
    np.testing.assert_allclose(windowed, picture(CAMERA, solids, [lamp]), atol=2e-3)


def test_solids_that_are_not_asked_for_shadows_cast_none(monkeypatch):
    rng = np.random.default_rng(1)
    places = [(x, y, 0.35) for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1)]
    solids = [solid(SHAPES[rng.integers(3)], place, 0.35) for place in places]
    position = np.float32([-4.7, -4, 2.4])
    toward = -position / np.linalg.norm(position)
    lamp = shading.Lamp(position, toward, np.full(3, 5, np.float32), 0.5)
    chosen = picture(CAMERA, solids, [lamp])
    near, shading_solids = shading._neighbors(solids, [lamp])
    every = ~np.eye(len(solids), dtype=bool)
    assert 0 < shading_solids[0].mean() < 0.5
    monkeypatch.setattr(shading, "_neighbors", lambda *_: (near, [every]))
    np.testing.assert_array_equal(chosen, picture(CAMERA, solids, [lamp]))


def test_without_lamps_rubber_has_its_color_and_metal_mirrors_the_plane():
    cubes = [solid("cube", [0, 0, 0.7], metal=metal) for metal in (False, True)]
    row, column, _ = CAMERA.project([0, 0, 1.4])[[1, 0, 2]].astype(int)
    rubber, metal = (picture(CAMERA, [cube], []) for cube in cubes)
    level, more = shading.OBJECT_AMBIENT
    np.testing.assert_allclose(rubber[row, column], (level - more) * GRAY, rtol=1e-4)
    assert rubber.dtype == np.float32 and rubber.shape == (HEIGHT, WIDTH, 3)
    side = tuple(CAMERA.project([0.7, 0, 1.0])[1::-1].astype(int))
    expected = GRAY * (shading.METAL_SHARE * shading.AMBIENT + shading.METAL_DIFFUSE * level)
    np.testing.assert_allclose(metal[side], expected, rtol=0.05)
