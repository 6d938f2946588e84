"""Calibration: known curves given back, merged shards equal to one run, the file and its errors."""

import dataclasses
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scenes import SECTOR
from small_scans import random_poses, speckle, write_scan

from speckle_rec import cli
from speckle_rec import geometry as se3
from speckle_rec.calibrating import machine, training
from speckle_rec.calibrating.curve_fit import LENS, Sample, fit, predict
from speckle_rec.calibrating.held_out import PairErrors, judge_pairs
from speckle_rec.errors import InputError
from speckle_rec.pairs.correlation import Correlations, between_rows
from speckle_rec.probe.beam_lines import lines_of
from speckle_rec.probe.field import cells
from speckle_rec.report import calibration as plots
from speckle_rec.speckle.calibration import SIGNS, Calibration, Uncalibrated
from speckle_rec.speckle.cell_regression import PARTS, design, parts
from speckle_rec.speckle.curves import USUAL_MIX, Curves
from speckle_rec.trajectory import phases
from speckle_rec.trajectory.hand import ALIKE_FRAMES, Hand, were_swept

GRID = cells(SECTOR)
LINES = lines_of(SECTOR, GRID)
ROW_MM = SECTOR.scale[1, 1]
TRUTH = Curves(waist_mm=1.0, focus_mm=35.0, tail_b=0.4, tail_beta=0.6, kappa=0.01, floor=0.9, slow_share=0.2,
               rows=0.06)


def true_coefficients() -> np.ndarray:
    theta = np.zeros((len(PARTS), 1 + 2 * len(SIGNS)))
    theta[:, 0] = 2.0, -1.5, 0.0
    theta[0, 2] = 0.6            # brighter cells are clearer
    theta[1, 3] = 0.4            # contrast makes them slow
    theta[2, 5] = 0.1            # lateral width stretches
    return theta


def record(name: str, seed: int, pairs: int = 150) -> training.Record:
    """A record whose correlations follow TRUTH exactly, but for speckle's own scatter."""
    rng = np.random.default_rng(seed)
    xi = rng.normal(size=(pairs, 3)) * [0.5, 0.012, 0.02]
    signs = rng.normal(size=(3, len(GRID), len(SIGNS))) * 0.6
    window = rng.integers(0, 3, pairs).astype(np.int32)
    planar = rng.normal(size=(pairs, 3)) * [0.1, 0.1, 0.002]
    every = Sample(np.tile(LINES, (pairs, 1)), np.repeat(xi, len(GRID), 0), signs[window].reshape(-1, len(SIGNS)),
                   np.zeros(pairs * len(GRID)), np.zeros(pairs * len(GRID)),
                   between_rows(LINES, planar, ROW_MM).ravel().astype(float), np.ones(pairs * len(GRID)))
    f = predict(TRUTH, true_coefficients(), every)
    rho = (f + (1 - f**2) / 5 * rng.normal(size=f.shape)).reshape(pairs, -1)
    lag = rng.integers(1, 9, pairs)
    j = np.sort(rng.integers(10, 100, pairs))
    T = se3.exp(np.cumsum(rng.normal(size=(100, 6)) * 1e-3, 0))
    return training.Record(name, training.subject_of(name), "curvilinear", 100, LINES, (j - lag).astype(np.int32),
                           j.astype(np.int32), xi, rho.astype(np.float16), np.zeros(rho.shape, np.float16),
                           planar, np.array([ROW_MM]), signs.astype(np.float16), window,
                           phases.measure(T), np.zeros(3))


@pytest.fixture(scope="module")
def records():
    return [record(f"sub{k:03d}__RH_rotation", k) for k in range(3)]


def test_known_curves_come_back(records):
    samples = [training.drawn(r, count=8000) for r in records]
    start = dataclasses.replace(TRUTH, waist_mm=1.3, focus_mm=45.0, tail_b=1.0, tail_beta=0.9, kappa=0.003)
    found = fit(samples, start, share=1.0, free=(*LENS, "tail_b", "tail_beta"))
    assert found.curves.focus_mm == pytest.approx(TRUTH.focus_mm, rel=0.10)
    assert found.curves.rows == pytest.approx(TRUTH.rows, abs=0.01)
    effective = found.curves.waist_mm * np.exp(-found.coefficients[2, 0])
    assert effective == pytest.approx(TRUTH.waist_mm, rel=0.10)
    theta = true_coefficients()
    for row, column in ((0, 2), (1, 3), (2, 5)):
        assert found.coefficients[row, column] == pytest.approx(theta[row, column], abs=0.15)
    one = samples[0]
    residual = predict(found.curves, found.coefficients, one) - predict(TRUTH, theta, one)
    assert np.sqrt(np.mean(residual**2)) < 0.02
    mixed = fit(samples, dataclasses.replace(start, mix=USUAL_MIX), share=1.0)
    residual = predict(mixed.curves, mixed.coefficients, one) - predict(TRUTH, theta, one)
    assert np.sqrt(np.mean(residual**2)) < 0.03
    assert sum(mixed.curves.mix) == pytest.approx(1)


def test_pairs_are_estimated_without_bias_by_the_true_curves(records):
    errors = [judge_pairs(r, TRUTH, true_coefficients()) for r in records]
    np.testing.assert_allclose(np.mean([e.gain for e in errors], axis=0), 1, atol=0.02)
    assert np.mean([e.error for e in errors], axis=0).max() < 0.09


def test_stretch_rescales_distances(records):
    theta = true_coefficients()
    theta[2, 0] = np.log(1.25)
    np.testing.assert_allclose(judge_pairs(records[0], TRUTH, theta).gain, 1 / 1.25, atol=0.04)


def test_parts_are_bounded():
    signs = np.array([[np.nan] * len(SIGNS), [1e6] * len(SIGNS), [-1e6] * len(SIGNS)])
    floor, slow, stretch = parts(np.full((3, 1 + 2 * len(SIGNS)), 0.1), signs)
    assert ((floor > 0) & (floor < 1) & (slow > 0) & (slow < 1)).all()
    assert ((stretch > 0.4) & (stretch < 2.1)).all()
    assert design(signs).shape == (3, 1 + 2 * len(SIGNS))


def test_merged_shards_give_what_one_run_gives(records, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "DRAWN", 2000)
    monkeypatch.setattr(machine, "drawn", lambda r, seed: training.drawn(r, seed, 2000))
    training.write(tmp_path / "a.h5", [records[2]])
    training.write(tmp_path / "b.h5", [records[1], records[0]])
    parts_of = [training.read(tmp_path / "a.h5"), training.read(tmp_path / "b.h5")]
    one = machine.calibrate(training.merge([records])).save(tmp_path / "one.h5")
    merged = machine.calibrate(training.merge(parts_of)).save(tmp_path / "merged.h5")
    np.testing.assert_array_equal(merged.coefficients, one.coefficients)
    assert merged.curves == one.curves
    assert merged.priors == one.priors


def test_a_lens_that_is_known_is_found(records, monkeypatch):
    """Aperture 7.16 mm focused at 39.28 mm makes the beam of TRUTH; the usual lens is far from it."""
    monkeypatch.setattr(machine, "drawn", lambda r, seed: training.drawn(r, seed, 2000))
    usual, known = (machine.calibrate(records[:2], lens=lens) for lens in (None, (7.16, 39.28)))
    assert abs(known.curves.focus_mm / TRUTH.focus_mm - 1) < 0.03 and abs(known.curves.waist_mm - 1) < 0.06
    assert abs(usual.curves.focus_mm / TRUTH.focus_mm - 1) > 0.2
    assert known.provenance["lens"] == (7.16, 39.28) and usual.provenance["lens"] == "usual"


@pytest.mark.parametrize("lens", [(0.0, 60.0), (10.0, float("nan"))])
def test_a_lens_that_cannot_be_is_refused(records, lens):
    with pytest.raises(InputError, match="lens: expected"):
        machine.calibrate(records[:1], lens=lens)


def test_a_scan_merged_twice_is_refused(records):
    with pytest.raises(InputError, match="two of the files"):
        training.merge([records, records[:1]])


def test_the_file_gives_back_what_was_saved(tmp_path):
    made = Calibration(TRUTH, true_coefficients(), priors={"scans": 2}, figures={"a": [1.5, None]},
                       provenance={"b": "c"}).save(tmp_path / "c.h5")
    read = Calibration.load(tmp_path / "c.h5")
    assert read.hash == made.hash
    np.testing.assert_array_equal(read.coefficients, made.coefficients)
    assert dataclasses.replace(read, coefficients=0) == dataclasses.replace(made, coefficients=0)


@pytest.mark.parametrize("case", ["text", "other", "version", "shape", "attribute", "nan"])
def test_a_bad_file_is_one_line(tmp_path, case, capsys, scan_file, fake_pipeline):
    path = tmp_path / "bad.h5"
    Calibration(TRUTH, true_coefficients()).save(path)
    if case == "text":
        path.write_text("no calibration")
    else:
        with h5py.File(path, "a") as file:
            if case == "other":
                del file.attrs["format"]
            elif case == "version":
                file.attrs["version"] = 99
            elif case == "attribute":
                del file.attrs["curves.waist_mm"]
            else:
                del file["coefficients"]
                file["coefficients"] = np.full((3, 2) if case == "shape" else (3, 15), np.nan)
    with pytest.raises(InputError, match=r"bad\.h5"):
        Calibration.load(path)
    assert cli.main(["reconstruct", str(scan_file), "--calibration", str(path), "-o", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_shipped_default_is_small_and_named():
    shipped = Calibration.shipped()
    assert shipped.curves.source.startswith("shipped default")
    assert 0.03 < shipped.curves.scale_uncertainty < 0.3
    assert shipped.provenance


def test_protocol_statistics_of_a_known_motion():
    n = 400
    tilt = 0.3 * np.sin(np.linspace(0, 6, n))
    twist = np.zeros((n, 6))
    twist[:, 3] = tilt
    twist[:, 4] = -1.5 * np.clip((np.arange(n) - 200) / 150, 0, 1)
    rng = np.random.default_rng(0)
    T = se3.exp(twist)
    T[:, :3, 3] += 0.02 * rng.normal(size=(n, 3))
    found = phases.measure(T)
    assert found["turn_deg"] == pytest.approx(-86, abs=3)
    assert found["first_fan_sign"] == 1
    assert found["jitter_mm"] == pytest.approx(0.02, rel=0.25)
    assert found["contact_x_mm"] == pytest.approx(0.02, rel=0.3)
    priors = phases.gather([found, found, {}])
    assert priors["turn_sign"] == {"negative": 2, "positive": 0}
    mirror = phases.mirror_prior(priors)
    assert (mirror.turn_sign, mirror.tilt_sign) == (-1, 1)
    assert "2 of 2" in mirror.source


def test_wobble_is_what_a_hand_does_not_mean():
    """A fan that yaws a little, then a rock that tilts a little, seen by a tracker that jitters."""
    t = np.arange(400)
    twist = np.zeros((800, 6))
    twist[:400, 3] = 0.3 * np.sin(t / 40)
    twist[:400, 4] = 0.02 * np.sin(t / 25)
    twist[400:, 5] = 0.2 * np.sin(t / 40)
    twist[400:, 3] = twist[399, 3] + 0.01 * np.sin(t / 20)
    twist[400:, 4] = twist[399, 4]
    T = se3.exp(twist + 1e-4 * np.random.default_rng(1).normal(size=twist.shape))
    found = phases.measure(T)
    assert found["wobble_tilt_mrad"] == pytest.approx(10 / 20 / np.sqrt(2), rel=0.15)          # in the rock
    assert found["wobble_yaw_mrad"] == pytest.approx(20 / 25 / 2, rel=0.15)                    # in half of the frames
    hand = Hand.of("curvilinear", phases.gather([found, found]))
    assert hand.wobble_tilt_rad == pytest.approx(1e-3 * found["wobble_tilt_mrad"])
    assert hand.pivot and not Hand.of("linear", {}).pivot
    for nonsense in ({"mean": float("nan")}, {"mean": "much"}, {"mean": 1e9}, 3, {}):
        assert Hand.of("curvilinear", {"wobble_tilt_mrad": nonsense}) == Hand()


def test_training_scans_that_were_swept_say_how_far_a_sweep_turns():
    """A limb that turns away slowly is told from a fan about a contact point that drifts."""
    n = 300
    path = np.zeros((n, 6))
    path[:, 2] = 0.2 * np.arange(n)
    path[:, 4] = 0.08 * np.sin(np.arange(n) / 40)
    fan = np.zeros((n, 6))
    fan[:, 3] = 0.4 * np.sin(np.arange(n) / 30)
    drift = np.zeros((n, 6))
    drift[:, 2] = 2 * np.sin(np.arange(n) / 50)
    swept, fanned = (phases.gather([phases.measure(T)]) for T in (se3.exp(path), se3.exp(drift) @ se3.exp(fan)))
    assert were_swept(swept) and not were_swept(fanned) and not were_swept({}) and not were_swept({"carried": 3})
    rate = 0.08 / 40 / np.sqrt(2)
    usual = Hand.of("curvilinear", fanned)
    assert Hand.of("curvilinear", swept).sweep_yaw_rad == pytest.approx(rate * np.sqrt(ALIKE_FRAMES), rel=0.1)
    assert usual.sweep_yaw_rad == Hand.of("curvilinear", {}).sweep_yaw_rad


def test_the_verb_in_shards_and_in_one_run(tmp_path, records, monkeypatch, capsys):
    known = {r.name: r for r in records}
    for name in known:
        path = tmp_path / "data" / "frames_transfs" / name[3:6] / "RH_rotation.h5"
        path.parent.mkdir(parents=True)
        write_scan(path, speckle(6), random_poses(6))
    collected = []

    def collect(scan, **options):
        collected.append(scan.name)
        return known[scan.name]

    monkeypatch.setattr(training, "collect", collect)
    monkeypatch.setattr(training, "DRAWN", 1000)
    monkeypatch.setattr(machine, "drawn", lambda r, seed: training.drawn(r, seed, 1000))
    data, out = str(tmp_path / "data"), [str(tmp_path / f"{k}.h5") for k in range(4)]
    assert cli.main(["calibrate", data, "-o", out[0], "--no-report"]) == 0
    for k in (1, 2):
        assert cli.main(["calibrate", data, "--shard", f"{k}/2", "-o", out[k]]) == 0
    assert len(collected) == 6
    assert cli.main(["calibrate", "--merge", out[2], out[1], "-o", out[3], "--no-report"]) == 0
    one, merged = Calibration.load(out[0]), Calibration.load(out[3])
    np.testing.assert_array_equal(one.coefficients, merged.coefficients)
    assert (one.curves, one.priors, one.figures) == (merged.curves, merged.priors, merged.figures)
    capsys.readouterr()
    assert cli.main(["calibrate", data, "-o", out[0]]) == 0
    assert "finished before" in capsys.readouterr().out
    assert cli.main(["calibrate", data, "--shard", "3/2", "-o", str(tmp_path / "x.h5")]) == 2
    assert "expected i/n" in capsys.readouterr().err
    assert cli.main(["calibrate", data, "--shard", "1/2", "--lens", "10", "60", "-o", str(tmp_path / "x.h5")]) == 2
    assert "not with --shard" in capsys.readouterr().err


@pytest.mark.figures
def test_the_report_is_drawn(tmp_path, records):
    plots.write(tmp_path / "c.png", Calibration(TRUTH, true_coefficients(),
                                                priors=phases.gather([r.motion for r in records])), records)
    assert (tmp_path / "c.png").stat().st_size > 20_000


def test_bare_curves_are_a_calibration_that_changes_nothing():
    bare = Uncalibrated.of(TRUTH)
    assert bare.hash == "physical" and bare.curves is TRUTH
    np.testing.assert_array_equal(bare.forms(SECTOR, GRID), TRUTH.forms(SECTOR, GRID))
    assert Calibration.default("curvilinear") is Calibration.shipped()
    assert Calibration.default("linear").curves == Curves.usual("linear")


def test_a_gain_stretches_bare_curves_too():
    images, i = SimpleNamespace(scan=SimpleNamespace(n_frames=48)), np.arange(47)
    correlations = Correlations(i, i + 1, np.full((47, len(GRID)), 0.8, np.float32))
    whole, half = (dataclasses.replace(Uncalibrated.of(TRUTH), gain=gain).judge(correlations, images, GRID)(None)
                   for gain in (1.0, 0.5))
    np.testing.assert_allclose(half.stretch, whole.stretch / 2)
    np.testing.assert_array_equal(half.fast, whole.fast)


def judged_as(*gains):
    """What held-out scans with these gains of displacement and yaw would say."""
    return [PairErrors("scan", np.array([g, g, g]), np.zeros(3), np.zeros((0, 3)), np.zeros((0, 3)))
            for g in gains]


def test_a_scale_is_as_sure_as_there_are_scans_that_bear_it_out():
    none, two, many = (machine.scale_uncertainty(judged_as(*[1.0] * n)) for n in (0, 2, 60))
    assert many < 0.4 * none and many < two / 2 and 0.6 * none < two < none
    far = machine.scale_uncertainty(judged_as(*np.exp([0.3, -0.3] * 30)))
    assert far == pytest.approx(0.3, rel=0.05)
    assert two < machine.scale_uncertainty(judged_as(*np.exp([0.3, -0.3]))) < far
