"""Each effect of tissue and clutter has the size that its number says."""

import dataclasses

import numpy as np
import pytest

from speckle_rec import geometry as se3
from speckle_rec.errors import InputError
from speckle_rec.probe.field import ultrasonix_4dc7
from speckle_rec.synth.anatomy import Forearm
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.clutter import Stray
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.plates import Plates
from speckle_rec.synth.scatterers import Medium, Phantom, visible
from speckle_rec.synth.settings import Body, Clutter, TissueModel

SCALE = np.diag([0.229389, 0.220980, 1, 1])
SECTOR = dataclasses.replace(ultrasonix_4dc7(SCALE), lateral=(-np.deg2rad(9), np.deg2rad(9)), depth_mm=(35.0, 75.0))
BEAM = Beam(n_lines=68, lens="gaussian")
# Image z, the elevation, along the world's x, as a probe across the arm has it; the middle of the face at the origin.
ACROSS = np.eye(4)
ACROSS[:3, :3] = [[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]
ACROSS = ACROSS @ se3.translation(-np.array([*SECTOR.face_mm, 0.0]))


def along(x_mm: float):
    return se3.translation(np.array([x_mm, 0, 0])) @ ACROSS


def phantom(model: TissueModel, density: float = 40.0, half: float = 14.0):
    tissue = Phantom(np.array([[-half, 30, -20], [half, 80, 20]]))
    medium = Medium.draw(tissue, 2, density, plates=Plates.of(model, BEAM, SECTOR))
    return Renderer(medium, tissue, BEAM, SECTOR)


def coherence(a, b):
    return abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("share, across_mm", [(0.3, 0.0), (0.55, 2.0)])
def test_coherent_share_keeps_its_correlation_far_along_the_arm(share, across_mm):
    model = TissueModel(coherent=share, coherent_along_mm=40.0, coherent_across_mm=across_mm)
    renderer = phantom(model)
    near = (renderer.r_mm > 48) & (renderer.r_mm < 64)      # about the waist
    middle = slice(26, 42) if across_mm else slice(None)    # wide plates shine where they are met squarely
    frames = {x: renderer.baseband(along(x), None)[near, middle] for x in (-6.0, -2.0, 2.0, 6.0)}
    found = np.mean([coherence(frames[a], frames[a + 4]) for a in (-6.0, -2.0, 2.0)])
    assert found == pytest.approx(share * (1 - 4 / 40), abs=0.07)
    plain = phantom(TissueModel())
    assert coherence(*(plain.baseband(along(x), None)[near] for x in (-2.0, 2.0))) < 0.07
    power = np.mean([np.mean(np.abs(f) ** 2) for f in frames.values()])
    assert power == pytest.approx(1, rel=0.15)      # the share is taken from what is there


def test_coherent_scatter_ends_with_its_length_along_the_arm_and_across_it():
    renderer = phantom(TissueModel(coherent=0.6, coherent_along_mm=3.0, coherent_across_mm=3.0))
    near = (renderer.r_mm > 48) & (renderer.r_mm < 64)
    assert coherence(renderer.baseband(along(-2.0), None)[near], renderer.baseband(along(2.0), None)[near]) < 0.1

    def lines(model):
        """Correlation of lines 1.6 mm apart, four frames."""
        made = phantom(model)
        gap = round(1.6 / 95 / (made.u[1] - made.u[0]))
        frames = np.stack([made.baseband(along(x), None)[near] for x in (-9.0, -3.0, 3.0, 9.0)])
        # less what the arcs of constant range put between lines
        a, b = frames[:, :, :-gap], frames[:, :, gap:]
        return abs(np.vdot(np.abs(a) - np.abs(a).mean(), np.abs(b) - np.abs(b).mean())) / a.size
    wide = lines(TissueModel(coherent=0.6, coherent_along_mm=6.0, coherent_across_mm=6.0))
    assert wide > 3 * lines(TissueModel(coherent=0.6, coherent_along_mm=6.0))


def test_plates_of_a_place_do_not_depend_on_the_region_or_on_threads():
    tissue = Phantom(np.array([[-8.0, 30, -8], [8, 50, 8]]))
    plates = Plates.of(TissueModel(coherent=0.4), BEAM, SECTOR)
    whole = Medium.draw(tissue, 5, plates=plates)
    assert Medium.draw(tissue, 5, threads=3, plates=plates).points.tobytes() == whole.points.tobytes()
    part = Medium.draw(tissue, 5, region_mm=lambda p: p[:, 0] < 0, plates=plates)
    rows = {p.tobytes() for p in whole.points}
    assert 0 < len(part.points) < len(whole.points) and all(p.tobytes() in rows for p in part.points)


def test_few_scatterers_in_a_cell_make_spikes_as_many_as_theory_says():
    """E I^2 / (E I)^2 = 2 + 1 / (scatterers in a cell), a cell being (int |h|^2)^2 / int |h|^4 of the beam."""
    density = 7.0
    renderer = phantom(TissueModel(), density)
    near = (renderer.r_mm > 45) & (renderer.r_mm < 68)
    frames = np.stack([renderer.baseband(along(x), None)[near] for x in np.linspace(-10, 10, 7)])
    power = np.abs(frames) ** 2
    excess = np.mean(power**2) / np.mean(power) ** 2 - 2
    assert 1 / excess == pytest.approx(density * 11.5 / 40, rel=0.35)


def sheet(lobe_deg: float, turn_deg: float) -> float:
    """Power of a fascia met at an angle."""
    class Flat(Phantom):
        def reflectivity(self, p):
            return np.zeros(len(p), np.float32)

        def sheets(self, rng):
            points = rng.uniform([-9, 0, -6], [9, 0, 6], (4000, 3))
            turned = points @ se3.exp(np.array([0, 0, 0, 0, 0, np.deg2rad(turn_deg)]))[:3, :3].T + middle
            return turned.astype(np.float32), np.ones(4000, np.float32)

        def normals(self, points):
            axis = np.array([-np.sin(np.deg2rad(turn_deg)), np.cos(np.deg2rad(turn_deg)), 0])
            return np.broadcast_to(axis, points.shape).astype(np.float32)

    middle = np.array([*SECTOR.cartesian(50.0, 0.0), 0.0])
    tissue = Flat(np.array([middle - 0.1, middle + 0.1]))
    renderer = Renderer(Medium.draw(tissue, 1, lobe_deg=lobe_deg), tissue, BEAM, SECTOR)
    return float(np.mean(np.abs(renderer.baseband(np.eye(4), None)[:, 32:36]) ** 2))


@pytest.mark.parametrize("lobe_deg, turn_deg", [(15.0, 10.0), (8.0, 12.0)])
def test_fascia_loses_brightness_with_the_angle_by_its_lobe(lobe_deg, turn_deg):
    ratio = sheet(lobe_deg, turn_deg) / sheet(0.0, turn_deg)
    assert np.log(ratio) == pytest.approx(-2 * (turn_deg / lobe_deg) ** 2, rel=0.12)
    assert sheet(lobe_deg, 0.0) == pytest.approx(sheet(0.0, 0.0), rel=0.05)


def test_normals_of_the_arm_are_those_of_its_surfaces():
    arm = Forearm(1)
    points, _ = arm.sheets(np.random.default_rng(0))
    points = points[::400]
    normals = arm.normals(points)
    size = np.linalg.norm(normals, axis=1)
    assert np.all((np.abs(size - 1) < 1e-4) | (size == 0)) and (size > 0).mean() > 0.5
    moved = np.abs(arm.distances(points + np.float32(0.3) * normals)).min(1)[size > 0]
    assert np.median(moved) == pytest.approx(0.3, abs=0.1)


def empty(clutter: Clutter, contact: float = 1.0):
    """Renderer of a body without echoes."""
    tissue = Phantom(np.array([[0.0, 0, 0], [1, 1, 1]]))
    beam = dataclasses.replace(BEAM, noise_db=-90.0)
    return Renderer(Medium.draw(tissue, 0), tissue, beam, SECTOR, stray=Stray(clutter, 3))


@pytest.mark.parametrize("still", [0.0, 0.6, 1.0])
def test_haze_has_its_level_grows_with_depth_and_stays_by_its_share(still):
    renderer = empty(Clutter(haze_db=-10.0, haze_db_cm=2.5, haze_still=still))
    frames = np.stack([renderer.baseband(along(x), np.random.default_rng(int(x))) for x in range(6)])
    level = 10 * np.log10(np.mean(np.abs(frames) ** 2, (0, 2)))
    slope, last = np.polyfit(renderer.r_mm - renderer.r_mm[-1], level, 1)
    assert last == pytest.approx(-10, abs=1.2) and slope == pytest.approx(0.25, abs=0.05)
    assert np.mean([coherence(frames[i], frames[i + 1]) for i in range(5)]) == pytest.approx(still, abs=0.05)


def test_reverberation_lines_stay_with_the_probe_at_their_spacing_and_level():
    renderer = empty(Clutter(reverberation_db=6.0, reverberation_mm=4.0, reverberation_fall_db=3.0))
    one, other = (renderer.baseband(along(x), None) for x in (0.0, 30.0))
    np.testing.assert_array_equal(one, other)
    level = 20 * np.log10(np.median(np.abs(one), 1) + 1e-9)
    level = np.maximum(level, np.maximum(np.roll(level, 1), np.roll(level, -1)))    # a line may fall between rows
    at = [np.argmin(np.abs(renderer.r_mm - 35 - 4 * n)) for n in range(1, 10)]
    slope, first = np.polyfit(np.arange(9), level[at], 1)
    assert slope == pytest.approx(-3, abs=0.5) and first == pytest.approx(6, abs=2)
    assert level[(at[0] + at[1]) // 2] < -40
    turned = np.abs(np.angle(one[at[0], 1:] / one[at[0], :-1]))
    assert np.median(turned) < 0.3      # a line, not speckle


def test_a_soft_shadow_has_wide_edges_and_is_filled_with_haze():
    class Bone(Phantom):
        def attenuation(self, p):
            return np.where((p[:, 0] > 73) & (p[:, 1] > 45) & (p[:, 1] < 50), 20, 0.5).astype(np.float32)

    tissue = Bone(np.array([[50.0, 30, -8], [100, 90, 8]]))
    medium = Medium.draw(tissue, 1, region_mm=visible(np.eye(4)[None], SECTOR))
    power = {}
    for name, clutter in (("hard", Clutter()), ("soft", Clutter(shadow_edge_mm=2.0)),
                          ("filled", Clutter(shadow_edge_mm=2.0, haze_db=-15.0, haze_db_cm=0.0))):
        renderer = Renderer(medium, tissue, BEAM, SECTOR, stray=Stray(clutter))
        field = renderer.baseband(np.eye(4), None)
        power[name] = 10 * np.log10(np.mean(np.abs(field[renderer.r_mm > 55]) ** 2, 0) + 1e-12)
    edge = {name: np.sum((p > -30) & (p < -4)) for name, p in power.items()}
    assert edge["soft"] > edge["hard"] + 2
    assert power["soft"][-8:].max() < -30 and power["filled"][-8:].mean() == pytest.approx(-18, abs=2)


@pytest.mark.parametrize("model, part", [({"muscle": 0.3}, "muscle"), ({"fat": 2.0}, "fat"), ({"fascia": 2.5}, "any"),
                                         ({"perimysium": 2.0}, "muscle"), ({"fat_contrast": 0.3}, "fat")])
def test_echoes_of_the_arm_follow_the_model(model, part):
    rng = np.random.default_rng(0)
    x, z = rng.uniform(-20, 20, 20000), rng.uniform(-12, 12, 20000)
    y = rng.uniform(*{"muscle": (9, 22), "fat": (1.9, 3.5), "any": (2, 22)}[part], 20000)
    points = np.stack([x, y, z], 1).astype(np.float32)
    usual, other = (Forearm(3, model=TissueModel(**m)).reflectivity(points) for m in ({}, model))
    changed = other != usual
    assert changed.mean() > 0.03
    factor = next(iter(model.values()))
    assert (np.median(other[changed] / usual[changed]) > 1) == (factor > 1)


def test_a_wider_spacing_makes_fewer_walls_and_larger_lobules_fewer_septa():
    x, z = np.meshgrid(np.arange(-20, 20, 1.0), np.arange(-12, 12, 0.05))

    def logs(model, y):
        points = np.stack([x.ravel(), np.full(x.size, y), z.ravel()], 1).astype(np.float32)
        return np.log(Forearm(3, model=model).reflectivity(points)).reshape(x.shape)

    for field, narrow, wide, depths in (("perimysium_mm", 1.2, 2.4, (15.0,)),
                                        ("fat_lobule_mm", 2.0, 12.0, (2.2, 2.5, 2.8, 3.1, 3.4))):
        fine, coarse = (np.stack([logs(TissueModel(**{field: size}), y) for y in depths]) for size in (narrow, wide))
        there = (fine != coarse)[:, 1:] & (fine != coarse)[:, :-1]
        assert there.mean() > 0.05
        steps = [np.abs(np.diff(v, axis=1))[there].mean() for v in (fine, coarse)]
        assert steps[1] < 0.8 * steps[0], field


@pytest.mark.parametrize("wrong", [(TissueModel, {"coherent": 1.5}), (TissueModel, {"muscle": float("nan")}),
                                   (Clutter, {"haze_still": -0.1}), (Clutter, {"reverberation_mm": 0.0}),
                                   (Body, {"follow": 2.0}), (Body, {"pulse_frames": 0.0})])
def test_numbers_that_cannot_be_are_refused(wrong):
    kind, values = wrong
    with pytest.raises(InputError, match=next(iter(values))):
        kind(**values)
