"""Every GPU kernel against its CPU twin, on random and on edge inputs.

Each case takes a function that puts a numpy array where the kernel is to run. `python tests/gpu_parity.py` runs all
of them; with NUMBA_ENABLE_CUDASIM=1 that is numba's CUDA simulator, for which the inputs are small.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.frames import features
from speckle_rec.kernels import (
    bmode,
    cpu,
    cpu_fields,
    cpu_volume,
    gpu,
    gpu_bmode,
    gpu_fields,
    gpu_images,
    gpu_scatter,
    gpu_volume,
    launch,
    scatter,
)
from speckle_rec.pairs import block_matching, loop_closures

CASES: dict[str, Callable] = {}
ROWS, COLUMNS = 22, 26
OPENCV_4_CUBIC = 0.3    # of a unit of noise: OpenCV 4 rounds coordinates to 1/32 px


def case(check: Callable) -> Callable:
    CASES[check.__name__] = check
    return check


def get(array) -> np.ndarray:
    """A numpy array of anyone's."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def images(seed, n=2, rows=ROWS, columns=COLUMNS):
    return np.random.default_rng(seed).normal(size=(n, rows, columns)).astype(np.float32)


def grey(seed, n=2, rows=ROWS, columns=COLUMNS):
    return np.random.default_rng(seed).integers(0, 256, (n, rows, columns), dtype=np.uint8)


def fan_mask(rows=ROWS, columns=COLUMNS):
    r, c = np.mgrid[:rows, :columns]
    return np.abs(c - columns / 2) < 4 + 0.5 * r


def _put_all(put, arguments):
    """Arguments on the device, bundles of them too."""
    return [type(a)(*_put_all(put, a)) if isinstance(a, tuple) else put(a) if isinstance(a, np.ndarray) else a
            for a in arguments]


@case
def block_ncc(put):
    for size, radius in ((5, 1), (6, 2)):
        a, b = images(1), images(2)
        a[0, :12, :12] = 0                                          # an empty block, and an image of nothing
        b[1] = 0
        tops = np.array([radius, 8, ROWS - size - radius])
        lefts = np.array([radius, 11, COLUMNS - size - radius])
        side = 2 * radius + 1
        for first, second in ((a, b), (b, a)):
            surfaces = put(np.full((2, 3, side, side), np.nan, np.float32))
            gpu.block_ncc(put(first), put(second), put(tops), put(lefts), size, radius, surfaces)
            expected = np.empty((3, side, side), np.float32)
            for m in range(2):
                cpu.block_ncc(first[m], second[m], tops, lefts, size, radius, expected)
                np.testing.assert_allclose(get(surfaces)[m], expected, atol=1e-6)
        alone = put(np.empty((3, side, side), np.float32))
        gpu.block_ncc(put(b[0]), put(a[0]), put(tops), put(lefts), size, radius, alone)
        np.testing.assert_array_equal(get(alone), get(surfaces)[0])


@case
def subpixel_peak(put):
    surfaces = np.random.default_rng(3).uniform(-0.2, 1, (2, 12, 5, 5)).astype(np.float32)
    surfaces[0, 0] = 0                                              # no peak at all
    surfaces[0, 1] = -0.5
    surfaces[0, 1, 2, 2] = -0.1                                     # the largest, but no peak
    surfaces[0, 2, 2, 2] = surfaces[0, 2, 0, 2] = 3                 # two that are level: the first counts
    surfaces[0, 3, 2, 1:4] = 2                                      # a plateau
    surfaces[1, :, 2, 2] += 1
    found = gpu.subpixel_peak(put(surfaces))
    expected = block_matching.subpixel_peak(surfaces.reshape(24, 5, 5))
    for one, other, tail in zip(found, expected, ((2,), (2,), ()), strict=True):
        assert one.shape == (2, 12, *tail)
        np.testing.assert_allclose(get(one).reshape(24, *tail), other, rtol=2e-5, atol=2e-5)


@case
def cell_sums(put):
    a, b = images(4), images(5)
    a[1] = 100 + 0.01 * a[1]                                        # a mean far above the spread
    labels = np.full((ROWS, COLUMNS), -1, np.int32)
    labels[2:9, 3:12], labels[2:9, 12:13], labels[10:20, 5:25] = 0, 2, 1
    labels[12, ::3] = 2                                             # in pieces; cell 3 is empty
    for first, second in ((a, b), (b, a)):
        sums = put(np.full((2, 4, 6), np.nan))
        gpu.cell_sums(put(first), put(second), put(labels), sums)
        for m, cell in np.ndindex(2, 4):
            p, q = (image[m][labels == cell].astype(float) for image in (first, second))
            expected = [p.size, p.sum(), q.sum(), (p * p).sum(), (q * q).sum(), (p * q).sum()]
            np.testing.assert_allclose(get(sums)[m, cell], expected, rtol=2e-6, atol=2e-5)
            assert get(sums)[m, cell, 0] == p.size


@case
def similarity(put):
    few = images(6, 5)
    few[3] = 0
    shifts = [(0, 0), (2, -1), (-3, 0), (1, 2)]
    alike, best = gpu.similarity(put(few), [loop_closures.shifted_parts(shift) for shift in shifts])
    expected, which = loop_closures.similarity(few, shifts)
    np.testing.assert_allclose(get(alike), expected, rtol=1e-5, atol=1e-4)
    clear = np.abs(expected) > 1e-3
    np.testing.assert_array_equal(get(best)[clear], which[clear])


@case
def shrink(put):
    for factor in (1, 2, 3, 4, 5):
        every = grey(7, 2, 4 * factor + factor // 2, 5 * factor + factor - 1)
        every[1] = np.arange(every[1].size, dtype=np.uint64).reshape(every[1].shape) % 7     # many ties
        expected = [features.shrink(image, factor) for image in every]
        np.testing.assert_array_equal(get(gpu_images.shrink(put(every), factor)), expected)


@case
def box_filter(put):
    for rows, columns, widths in ((9, 12, (5, 3)), (6, 7, (11, 11)), (1, 5, (3, 5))):
        every = images(8, 2, rows, columns)
        expected = [cv2.boxFilter(image, -1, widths) for image in every]
        np.testing.assert_allclose(get(gpu_images.box_filter(put(every), widths)), expected, rtol=1e-5, atol=1e-6)


@case
def grey_features(put):
    mask = fan_mask()
    frames = grey(9)
    frames[1] = 255                                                 # nothing to see
    twin = features.GreyFeatures(mask, (0.2, 0.3), 0.7)
    made = gpu_images.GreyFeatures(put(mask), twin.local_mean.widths, features.GREY_CLIP)(put(frames))
    np.testing.assert_allclose(get(made), [twin(frame) for frame in frames], rtol=1e-5, atol=1e-3)
    assert (get(made)[:, ~mask] == 0).all() and np.abs(get(made)).max() > 50


@case
def amplitude_features(put):
    mask = fan_mask()
    frames = grey(10)
    frames[1] = 0
    twin = features.AmplitudeFeatures(mask, (0.6, 0.8), 26.7)
    made = gpu_images.AmplitudeFeatures(put(mask), put(twin.table), twin.local_mean.widths)(put(frames))
    np.testing.assert_allclose(get(made), [twin(frame) for frame in frames], rtol=1e-4, atol=1e-4)


def motions():
    """Maps [n, 2, 3] of one image to another: rotations, whole and half pixels, and one that leads out of it."""
    turn = np.array([[np.cos(0.05), -np.sin(0.05), 1.37], [np.sin(0.05), np.cos(0.05), -0.61]])
    return np.array([turn, [[1, 0, 0], [0, 1, 0]], [[1, 0, 2], [0, 1, -3]], [[1, 0, -0.5], [0, 1, 0.5]],
                     [[1, 0, 500], [0, 1, -500]]], float)


def _warp(put, cubic, flag, allowed):
    every, M, pick = images(11, 2), motions(), np.array([0, 1, 0, 1, 0])
    inverse = np.array([np.linalg.inv(np.vstack([m, [0, 0, 1]]))[:2] for m in M])
    for maps in (M, inverse):
        made = get(gpu_images.warp(put(every), put(pick), put(maps), cubic))
        for n, (k, m) in enumerate(zip(pick, maps, strict=True)):
            expected = cv2.warpAffine(every[k], m, (COLUMNS, ROWS), flags=flag | cv2.WARP_INVERSE_MAP)
            np.testing.assert_allclose(made[n], expected, atol=allowed)
        np.testing.assert_array_equal(made[1], every[1])
        assert (made[4] == 0).all()


@case
def warp_linear(put):
    _warp(put, False, cv2.INTER_LINEAR, 1e-4 if cv2.__version__[0] != "4" else OPENCV_4_CUBIC)


@case
def warp_cubic(put):
    _warp(put, True, cv2.INTER_CUBIC, 1e-4 if cv2.__version__[0] != "4" else OPENCV_4_CUBIC)


@case
def warp_there_and_back(put):
    r, c = np.mgrid[:ROWS, :COLUMNS]
    smooth = np.sin(r / 4 + c / 5)[None].astype(np.float32)
    m = motions()[:1]
    back = np.linalg.inv(np.vstack([m[0], [0, 0, 1]]))[None, :2]
    pick = put(np.zeros(1, np.int64))
    for cubic in (False, True):
        there = gpu_images.warp(put(smooth), pick, put(m), cubic)
        again = get(gpu_images.warp(there, pick, put(back), cubic))
        inside = np.s_[0, 5:-5, 5:-5]
        np.testing.assert_allclose(again[inside], smooth[inside], atol=0.03)


def _affine(n=3):
    A = np.random.default_rng(12).normal(size=(n, 3, 3)) * [0.01, 0.01, 20.0]
    A[1] = 0
    return A


@case
def affine_fields(put):
    A = _affine()
    A[2, 1, 1] = np.nan                                             # lets NaN through, in its component only
    expected = np.empty((3, 3, ROWS * COLUMNS), np.float32)
    cpu_fields.affine_fields(A, ROWS, COLUMNS, expected)
    out = put(np.full_like(expected, 7))
    gpu_fields.affine_fields(put(A), ROWS, COLUMNS, out)
    np.testing.assert_allclose(get(out), expected, rtol=1e-6, atol=5e-6)
    assert np.isnan(get(out)[2, 1]).all() and not np.isnan(get(out)[2, 0]).any()


@case
def mean_lengths(put):
    A = _affine()
    np.testing.assert_allclose(get(gpu_fields.mean_lengths(put(A), ROWS, COLUMNS)),
                               cpu_fields.mean_lengths(A, ROWS, COLUMNS), rtol=1e-12)


GRID = (7, 9, 8)


@case
def splat_and_grey(put):
    frames = grey(13, 4, 10, 12)
    A = np.random.default_rng(14).normal(size=(4, 3, 3)) * [0.3, 0.3, 1.5] + [[[0.5, 0, 1], [0, 0.7, 1], [0.1, 0, 3]]]
    A[3, 0, 0] = np.nan                                             # a frame without a pose
    mask = np.ones((10, 12), bool)
    mask[:, :2] = mask[4] = False
    first = np.where(mask.any(1), mask.argmax(1), 0)
    last = np.where(mask.any(1), 12, 0)
    for mode in (gpu_volume.MEAN, gpu_volume.MAXIMUM, gpu_volume.LATEST):
        for linear in (False, True):
            total, weight = np.zeros((2, *GRID), np.float32)
            there = put(total.copy()), put(weight.copy())
            for part in (np.s_[:1], np.s_[1:]):                     # in two blocks, the later one last
                block = cpu_volume.Frames(frames[part], A[part], mask, first, last)
                cpu_volume.splat(block, total, weight, mode, linear, 2)
                gpu_volume.splat(*_put_all(put, [block]), *there, mode, linear, 2)
            assert 20 < (weight > 0).sum() < weight.size
            np.testing.assert_allclose(get(there[1]), weight, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(get(there[0]), total, rtol=1e-5, atol=1e-3 if mode == gpu_volume.MEAN else 0)
            data, made = np.empty(GRID, np.uint8), put(np.empty(GRID, np.uint8))
            cpu_volume.to_grey(total, weight, mode, data)
            gpu_volume.to_grey(put(total), put(weight), mode, made)
            np.testing.assert_array_equal(get(made), data)


@case
def fill_holes(put):
    rng = np.random.default_rng(15)
    data = rng.integers(1, 256, GRID, dtype=np.uint8)
    weight = (rng.random(GRID) < 0.5).astype(np.float32)
    weight[2:6, 3:8, 2:7] = 0                                       # a hole too large to fill
    data[weight == 0] = 0
    for radius in (1, 2):
        expected, made = np.empty_like(data), put(np.empty_like(data))
        cpu_volume.fill_holes(data, weight, radius, 1 / 3, expected)
        gpu_volume.fill_holes(put(data), put(weight), radius, 1 / 3, made)
        np.testing.assert_array_equal(get(made), expected)
        assert (expected > 0).sum() > (data > 0).sum() and (expected == 0).any()


def _scatterers(linear):
    rng = np.random.default_rng(16)
    centre = np.array([[x, y, 0.3] for x in (-4.0, 0.0, 4.0) for y in (6.0, 12.0)], np.float32)
    points = (centre[:, None] + rng.uniform(-2, 2, (len(centre), 40, 3))).reshape(-1, 3).astype(np.float32)
    start = np.arange(len(centre)) * 40
    stop = start + np.array([40, 40, 0, 7, 40, 40])                 # one voxel is empty
    n_lens = 30
    lens = (rng.normal(size=(n_lens, 9)) + 1j * rng.normal(size=(n_lens, 9))).astype(np.complex64)
    amplitude = rng.normal(size=len(points)).astype(np.float32)
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0.1, -0.05, 0.07]))[0]
    T[:3, 3] = [0.2, -0.1, 0.4]
    radius = 0.0 if linear else 10.0
    u0, du = (-8.0, 0.5) if linear else (-0.5, 0.03)
    reach = np.full(n_lens, 1.7, np.float32)
    reach[10:14] = 0.6
    curvature = rng.normal(0, 0.02, n_lens).astype(np.float32)
    return (scatter.Scatterers(points, amplitude, centre, start, stop, 2 * np.sqrt(3)), T,
            scatter.Probe(0.0, -radius, radius, linear), scatter.Axes(1.0, 0.4, u0, du),
            scatter.Lens(lens, curvature, reach, float(reach.max()), 0.5, 0.7, 0.25, 5.2))


@case
def deposit(put):
    nowhere = scatter.Lattice(np.zeros((0, 0, 0, 3), np.float32), np.zeros(3), 1.0)
    moved = np.random.default_rng(17).normal(0, 0.3, (6, 7, 5, 3)).astype(np.float32)
    lattice = scatter.Lattice(moved, np.array([-8.0, -1, -6]), 4.0)
    for linear in (True, False):
        for field in (nowhere, lattice):
            arguments = (*_scatterers(linear), field)
            expected = np.ones((40, 33), np.complex64)              # added to what is there
            scatter.deposit(*arguments, expected)
            out = put(np.ones((40, 33), np.complex64))
            gpu_scatter.deposit(*_put_all(put, arguments), out)
            np.testing.assert_allclose(get(out), expected, atol=2e-4)
            assert (expected != 1).sum() > 150


@case
def seen(put):
    points = np.random.default_rng(18).uniform([-15, -5, -5], [15, 20, 5], (120, 3))
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1, 2, 3] = 2.5
    for linear in (True, False):
        reach = np.linspace(0.5, 2.0, 20).astype(np.float32)
        radius, side = (0.0, 9.0) if linear else (10.0, 0.5)
        arguments = (points, T, scatter.Probe(0.0, -radius, radius, linear), scatter.Bounds(1.0, 14.0, -side, side),
                     scatter.Lens(np.zeros((20, 2), np.complex64), reach, reach, 2.0, 0.5, 0.7, 0.25, 5.2), 0.3)
        expected = scatter.seen(*arguments)
        np.testing.assert_array_equal(get(gpu_scatter.seen(*_put_all(put, arguments))), expected)
        assert 10 < expected.sum() < 110


def _field(rows=14, columns=20):
    rng = np.random.default_rng(19)
    return (rng.normal(size=(rows, columns)) + 1j * rng.normal(size=(rows, columns))).astype(np.complex64)


@case
def blurs_and_gain(put):
    field = _field()
    half = np.arange(14) % 4
    kernel = np.random.default_rng(20).normal(size=(14, 7)).astype(np.complex64) * (1 + 0.5j)
    kernel = (kernel + kernel[:, ::-1]).astype(np.complex64)
    expected, out = np.empty((14, 7), np.complex64), put(np.empty((14, 7), np.complex64))
    bmode.blur_lateral(field, kernel, half, 4, 2, expected)
    gpu_bmode.blur_lateral(put(field), put(kernel), put(half), 4, 2, out)
    np.testing.assert_allclose(get(out), expected, atol=1e-5)
    gain = np.random.default_rng(21).uniform(0.1, 2, (4, 3)).astype(np.float32)
    row_gain = np.linspace(1, 3, 14).astype(np.float32)
    there = put(field.copy())
    gpu_bmode.apply_gain(there, put(gain), put(row_gain), 2)
    here = field.copy()
    bmode.apply_gain(here, gain, row_gain, 2)
    np.testing.assert_allclose(get(there), here, rtol=1e-5)
    pulse = np.array([0.2, 0.7, 1, 0.6, 0.1], np.float32)
    expected, out = np.empty((5, 20), np.complex64), put(np.empty((5, 20), np.complex64))
    bmode.blur_axial(field, pulse, 3, 2, expected)
    gpu_bmode.blur_axial(put(field), put(pulse), 3, 2, out)
    np.testing.assert_allclose(get(out), expected, atol=1e-5)


@case
def grey_image(put):
    field = _field()
    field[0, 0], field[0, 1] = 0, 1e9                               # below black, above white
    polar, out = np.empty(field.shape, np.float32), put(np.empty(field.shape, np.float32))
    bmode.compress(field, 90.0, 26.7, polar)
    gpu_bmode.compress(put(field), 90.0, 26.7, out)
    np.testing.assert_allclose(get(out), polar, atol=1e-4)
    assert polar.min() == 0 and polar.max() == 255
    rng = np.random.default_rng(22)
    pixel = rng.permutation(16 * 18)[:200]
    row, column = (rng.uniform(0, n - 1, 200).astype(np.float32) for n in field.shape)
    row[:2], column[:2] = (0, 13), (19, 0)                          # corners
    image, made = np.zeros((16, 18), np.uint8), put(np.zeros((16, 18), np.uint8))
    bmode.scan_convert(polar, pixel, row, column, image)
    gpu_bmode.scan_convert(put(polar), put(pixel), put(row), put(column), made)
    assert np.abs(get(made).astype(int) - image).max() <= 1         # a value may lie at the edge of rounding
    assert (get(made) != image).mean() < 0.02 and image.std() > 30


if __name__ == "__main__":
    for check in CASES.values():
        check(np.asarray)
    print(f"{'simulator' if launch.SIMULATED else 'loop'}: {len(CASES)} cases agree")
