"""The gain of the engine: known shortfalls given back, whatever the signs."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import SECTOR, trajectory
from small_scans import dataset

from speckle_rec import geometry as se3
from speckle_rec.calibrating import gain, machine
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.geometry import mirror as mirror_image
from speckle_rec.pipeline import reconstruct
from speckle_rec.probe.field import cells
from speckle_rec.products.motion_priors import FanError
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import Calibration
from speckle_rec.speckle.curves import Curves
from speckle_rec.trajectory import mirror_tests
from speckle_rec.trajectory.crossing_planes import Calibrated
from speckle_rec.trajectory.factors import Crossings
from speckle_rec.trajectory.mirror_tests import Mended

POINTS = np.array([[0.0, 0, 0], [0, 60, 0], [30, 40, 0], [-30, 40, 0]])


def fan_and_turn(n=300):
    t = np.linspace(0, 1, n)
    return trajectory(tilt_rad=0.4 * np.sin(4 * np.pi * np.minimum(t, 0.5)), yaw_rad=1.2 * np.clip(2 * t - 1, 0, 1))


def short(T, share):
    """Poses whose steps out of the plane are a share of the true ones."""
    return se3.chain(se3.exp(se3.log(se3.steps(T)) * [1, 1, share, share, share, 1]))


@pytest.mark.parametrize("share", [0.8, 0.9, 1.0, 1.15])
def test_a_known_shortfall_comes_back(share):
    T = fan_and_turn()
    assert np.allclose(gain.gain_of(short(T, share), T, POINTS), share, rtol=0.02)


def test_fans_and_turns_are_told_apart():
    T = fan_and_turn()
    less = se3.chain(se3.exp(se3.log(se3.steps(T)) * [1, 1, 0.8, 0.8, 0.95, 1]))
    assert np.allclose(gain.gain_of(less, T, POINTS), [0.8, 0.95], atol=0.02)


def test_wrong_signs_hardly_matter():
    T = fan_and_turn()
    assert np.allclose(gain.gain_of(mirror_tests.flip(short(T, 0.9), 130), T, POINTS), 0.9, rtol=0.05)


@pytest.mark.parametrize("n", [2, gain.APART, 200])
def test_a_scan_that_hardly_moves_tells_nothing(n):
    T = trajectory(shift_mm=np.zeros(n))
    assert np.isnan(gain.gain_of(T, T, POINTS)).all()


def test_the_gain_stretches_the_curves_and_is_kept(tmp_path):
    shipped = Calibration.shipped()
    nan = float("nan")
    made = gain.with_gain(shipped, {"a": (0.8, 0.88), "b": (0.92, 0.92), "turns": (nan, 0.9), "sweep": (0.7, nan)})
    assert np.isclose(made.gain, 0.9 * shipped.gain) and made.hash == ""
    assert np.isclose(made.fan, shipped.fan * (0.8 / 0.88 + 1) / 2)
    saved = made.save(tmp_path / "c.h5")
    again = Calibration.load(tmp_path / "c.h5")
    assert np.isclose(again.gain, made.gain) and np.isclose(again.fan, made.fan)
    assert saved.hash != shipped.hash and again.figures["gain"]["sweep"] == [0.7, None]
    swept = gain.with_gain(shipped, {"sweep": (0.7, nan)})
    assert np.isclose(swept.gain, 0.7 * shipped.gain) and swept.fan == shipped.fan
    expected = made.curves.forms(SECTOR, cells(SECTOR)) * [made.fan, made.fan, 1]
    assert np.allclose(made.forms(SECTOR, cells(SECTOR)), expected)


def test_without_a_scan_that_moves_there_is_no_gain():
    with pytest.raises(InputError, match="found none"):
        gain.with_gain(Calibration.shipped(), {})


def leaning(T, share, slide_mm):
    """Poses whose fans are a share of the true ones, and slide along z by so much a rad."""
    step = se3.log(se3.steps(T))
    step[:, 2] += slide_mm * step[:, 3]
    step[:, 3] *= share
    return se3.chain(se3.exp(step))


@pytest.mark.parametrize("share, slide_mm", [(0.9, 4.0), (1.05, -3.0), (1.0, 0.0)])
def test_a_known_error_of_fans_is_told_and_undone(share, slide_mm):
    true = fan_and_turn()
    found = leaning(true, share, slide_mm)
    told = FanError.of(found, true)
    assert np.allclose([told.share, told.slide_mm], [share, slide_mm], atol=[0.01, 0.1])
    assert np.allclose(FanError(share, slide_mm).undone(found), true, atol=1e-9)


def test_a_wrong_sign_is_no_error_of_fans():
    true = fan_and_turn()
    told = FanError.of(mirror_tests.flip(leaning(true, 0.9, 0.0), 37), true)      # at the end of the first stroke
    assert np.isclose(told.share, 0.9, atol=0.05)
    assert FanError.of(np.broadcast_to(np.eye(4), (40, 4, 4)), true[:40]) == FanError()


def result(T, sd):
    """A reconstruction that claims the same deviations for all of its poses."""
    return Reconstruction(T, se3.steps(T), np.broadcast_to(np.eye(6) * np.square(sd), (len(T), 6, 6)),
                          np.zeros(len(T), np.float32), geometry=SECTOR)


@pytest.mark.parametrize("mirrored", [False, True])
def test_known_errors_come_back_as_the_spread(mirrored):
    """Errors of 1, 2, .. 6 deviations about the probe's face, whichever of the two mirror images is found."""
    sd, true = np.array([0.2, 0.1, 0.3, 0.01, 0.02, 0.01]), fan_and_turn()
    A = se3.translation(np.array([*SECTOR.face_mm, 0.0]))
    rng = np.random.default_rng(3)
    error = rng.normal(size=(len(true), 6)) * sd * np.arange(1, 7)
    found = A @ se3.exp(error) @ se3.inverse(A) @ true
    found[0] = np.eye(4)
    given = result(mirror_image(found) if mirrored else found, sd)
    given = gain.spread_of(*gain.about_face(given, true), given)
    assert np.allclose(given, np.arange(1, 7), rtol=0.15)


def test_the_spread_widens_every_covariance(tmp_path):
    wide = replace(Calibration.shipped(), spread=(2.0, 1, 1, 1, 1, 3))
    wide.save(tmp_path / "c.h5")
    assert Calibration.load(tmp_path / "c.h5").spread == wide.spread
    scan = Scan.open(dataset(tmp_path / "data", ("007/RH_rotation",), n_frames=8) / "frames_transfs/007/RH_rotation.h5")
    one, other = (reconstruct(scan, calibration=c).covariance for c in (
        replace(wide, spread=(1.0,) * 6), Calibration.load(tmp_path / "c.h5")))
    assert np.allclose(other, one * np.outer(wide.spread, wide.spread)) and one.any()


def test_a_trajectory_grows_by_what_the_gain_says(monkeypatch):
    """Half the stretch, twice the distance for the same correlation."""
    from scenes import model_scan

    from speckle_rec.trajectory.hand import Hand
    from speckle_rec.trajectory.hypothesis_tracking import sequential
    T = trajectory(shift_mm=0.2 * np.arange(40))
    scan = model_scan(T, 0)
    hand = Hand(pivot=False)
    step = np.zeros((len(T), 3))
    whole, stretched = (se3.log(sequential(step, scan.speckle, scan.forms, replace(
        scan.strengths, stretch=scan.strengths.stretch * g), scan.curves, hand)[0])[-1] for g in (1, 0.8))
    assert np.isclose(abs(stretched[2] / whole[2]), 1 / 0.8, rtol=0.1)


def test_the_verb_measures_it(tmp_path, monkeypatch, records_of_noise):
    root = records_of_noise
    monkeypatch.setattr(gain, "reconstruct", lambda scan, calibration, **_: result(
        short(scan.T_first_frame_tracked, 0.9 / calibration.gain**1.05), 0.01))      # not quite made up for
    assert main(["calibrate", str(root), "-o", str(tmp_path / "c.h5"), "--gain", "2", "-q", "--no-report"]) == 0
    made = Calibration.load(tmp_path / "c.h5")
    assert np.isclose(made.gain, 0.9, rtol=0.05) and len(made.figures["gain"]) == 2
    one, other = made.figures["spread"].values()         # both scans move alike here
    assert one == other and np.allclose(made.spread, np.maximum(one, 0.1), atol=1e-3) and made.spread != (1.0,) * 6
    assert main(["calibrate", str(root), "-o", str(tmp_path / "d.h5"), "--gain", "2", "--shard", "1/2", "-q"]) == 2


@pytest.fixture
def records_of_noise(tmp_path, monkeypatch):
    """A data set whose tracked poses fan and turn, and a fit that does not look at its frames."""
    from speckle_rec.cli import calibrate as verb
    root = dataset(tmp_path / "data", ("007/RH_rotation", "008/LH_rotation"), n_frames=240)
    fitted = replace(Calibration.shipped(), gain=1.0, fan=1.0)
    monkeypatch.setattr(gain, "LEAST_MM", 0.3)           # the images are small
    monkeypatch.setattr(verb, "_collect", lambda *a, **k: ([], []))
    monkeypatch.setattr(machine, "calibrate", lambda *a, **k: fitted)
    T = fan_and_turn(240)
    monkeypatch.setattr(Scan, "T_first_frame_tracked", property(lambda self: T))
    return root


def calibrated(monkeypatch, dataset, engine):
    """What `calibrate --gain` writes where `engine` stands for the reconstruction."""
    monkeypatch.setattr(gain, "reconstruct", engine)
    path = dataset.parent / "calibration.h5"
    assert main(["calibrate", str(dataset), "-o", str(path), "--gain", "2", "-q", "--no-report"]) == 0
    return Calibration.load(path)


def test_what_crossing_planes_made_up_for_is_part_of_the_gain(monkeypatch, records_of_noise):
    def engine(scan, **_):
        made = result(short(scan.T_first_frame_tracked, 1.02), 0.01)
        made.numbers["orthogonal_gain"] = 0.8
        return made

    assert np.isclose(calibrated(monkeypatch, records_of_noise, engine).gain, 0.8 * 1.02, rtol=0.02)


def test_what_fans_lose_where_planes_cross_is_undone_before_the_spread(monkeypatch, records_of_noise):
    A = se3.translation(np.array([*SECTOR.face_mm, 0.0]))

    def engine(scan, calibration, **_):
        assert calibration.crossed_fans == FanError()
        made = result(A @ leaning(se3.inverse(A) @ scan.T_first_frame_tracked @ A, 0.92, 3.0) @ se3.inverse(A), 0.01)
        made.numbers["orthogonal_similarity"] = 0.6
        return made

    made = calibrated(monkeypatch, records_of_noise, engine)
    assert np.allclose([made.crossed_fans.share, made.crossed_fans.slide_mm], [0.92, 3.0], atol=[0.01, 0.1])
    assert made.spread == (gain.LEAST_SPREAD,) * 6      # nothing is left


@pytest.mark.parametrize("crossed", [True, False])
def test_fans_are_righted_where_planes_crossed_and_nowhere_else(tmp_path, monkeypatch, crossed):
    from speckle_rec.trajectory import estimate
    scan = Scan.open(dataset(tmp_path / "data", ("007/RH_rotation",), n_frames=8) / "frames_transfs/007/RH_rotation.h5")
    asked = []
    for name, given in (("ENOUGH_LOOPS", 0), ("cheapest", lambda starts, f: starts[0]),
                        ("mend", lambda T, f: Mended(T)), ("exchanged", lambda mended, starts, f: mended)):
        monkeypatch.setattr(estimate, name, given)
    none = np.empty(0, int)
    seen = Crossings(none, none, np.empty((0, 4, 4)), np.empty((0, 6)), np.empty((0, 6, 6)))
    monkeypatch.setattr(estimate, "self_calibrate", lambda T, f, anatomy: Calibrated(T, seen if crossed else None))
    monkeypatch.setattr(Calibrated, "applied", lambda self, f: f)
    monkeypatch.setattr(FanError, "undone", lambda self, T: (asked.append(self), T)[1])
    reconstruct(scan, calibration=replace(Calibration.shipped(), crossed_fans=FanError(0.9, 1.0)))
    assert asked == [FanError(0.9, 1.0)] * crossed


@pytest.mark.parametrize("owner, name", [(Curves, "resampled"), (Calibration, "forms")])
def test_a_reconstruction_asks_for_what_was_calibrated(tmp_path, monkeypatch, owner, name):
    asked, usual = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda self, *given: (asked.append(self), usual(self, *given))[1])
    scan = Scan.open(dataset(tmp_path / "data", ("007/RH_rotation",), n_frames=8) / "frames_transfs/007/RH_rotation.h5")
    reconstruct(scan, calibration=Calibration.shipped())
    assert asked


@pytest.mark.parametrize("beyond", [{"gain": 5.0}, {"fan": 0.1}, {"crossed_fans": FanError(0.2, 0.0)},
                                    {"crossed_fans": FanError(1.0, 90.0)}, {"spread": (np.nan,) * 6}])
def test_what_could_not_be_read_again_is_not_written(tmp_path, beyond):
    path = tmp_path / "c.h5"
    with pytest.raises(InputError, match=r"c\.h5"):
        replace(Calibration.shipped(), **beyond).save(path)
    assert not list(tmp_path.iterdir())
