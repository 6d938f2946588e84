"""Tissues with known echoes: a forearm drawn from a seed, and a pure-speckle phantom.

World frame (mm): x along the forearm towards the wrist, y into the tissue, z across the arm; the probe
touches the skin near the origin. Amplitudes are relative to standard muscle speckle (1), attenuation is in
dB/(cm MHz), one way (textbook values: Szabo, Diagnostic Ultrasound Imaging, 2nd ed., table B.1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .forearm_kernels import FASCIA, TABLE_START_MM, TABLE_STEP_MM, distances, scatter, weaken
from .settings import TissueModel

Array = NDArray[np.float64]
Points = NDArray[np.float32]

TEXTURE_CELLS = 64
MUSCLES = 13
BLOCK_MM = 2.0
SHELL_MM = 0.5
GRADIENT_STEP_MM = 0.1
LANDED_MM = 0.05
CORTEX = 3                    # column of bone in `SURFACES`
ARTERY_COLUMN = 2 + 2 * MUSCLES + 2 * 3
USUAL = TissueModel()


class Phantom:
    """Fully developed speckle everywhere: uniform scatter, uniform attenuation, no surfaces."""

    bounds_mm = np.array([[-90.0, -15, -90], [230, 110, 90]])

    def __init__(self, attenuation: float = 0.5):
        self._attenuation = attenuation

    def reflectivity(self, points_mm: Points) -> Points:
        """Amplitude 1 at points [M, 3]."""
        return np.ones(len(points_mm), np.float32)

    def attenuation(self, points_mm: Points) -> Points:
        """The same dB/(cm MHz) at points [M, 3]."""
        return np.full(len(points_mm), self._attenuation, np.float32)

    def sheets(self, rng: np.random.Generator) -> tuple[Points, Points]:
        """No coherent surfaces: empty points [0, 3] and amplitudes [0]."""
        return np.empty((0, 3), np.float32), np.empty(0, np.float32)

    def normals(self, points_mm: Points) -> Points:
        """No surfaces, no normals: zero at points [K, 3]."""
        return np.zeros_like(points_mm)

    def artery(self, x_mm: Array) -> tuple[Array, Array, Array]:
        """y, z and radius (mm) of a vessel that makes the phantom beat where a body is asked for."""
        return np.full_like(x_mm, 18.0), np.full_like(x_mm, 5.0), np.full_like(x_mm, 1.7)


@dataclass(frozen=True)
class Surface:
    """A coherent sheet: which distance of `distances` is zero on it, and its echo."""

    column: int
    amplitude: float
    per_mm2: float


SURFACES = (Surface(0, 8.0, 8.0),     # skin
            Surface(1, 6.0, 8.0),    # deep fascia, between fat and muscle
            Surface(2, 2.5, 8.0),    # intermuscular fascia
            Surface(3, 5.0, 48.0),     # cortex: dense, or its scatter at grazing incidence outshines the echo
            Surface(4, 2.0, 8.0))    # aponeuroses inside the muscles


class Forearm:
    """A proximal forearm with skin, fat, fascia, muscles, vessels, a nerve, radius and ulna.

    Parameters
    ----------
    seed : int
        Draws the subject: sizes, layout, textures.
    side : "RH" or "LH"
        A left arm is the mirror image of the right arm (z to -z).
    imprint : "point" or "line"
        How the skin lies: round the convex probe at one contact point (rotation scans), or flattened along
        the whole arm (sweeps). It belongs to the tissue, so the tissue is rigid for the whole scan.
    model : TissueModel
        How bright and how coarse its parts are.
    """

    def __init__(self, seed: int, side: str = "RH", imprint: str = "point", model: TissueModel = USUAL):
        self.seed, self.side, self.imprint = seed, side, imprint
        rng = np.random.default_rng([seed, 0xA4A])
        self.bounds_mm = np.array([[-90.0 if imprint == "point" else -70.0, -15, -75],
                                   [90.0 if imprint == "point" else 260.0, 100, 75]])
        self._shape = np.array([1.0 if side == "RH" else -1.0, 1.0 if imprint == "point" else 0.0,
                                rng.uniform(1.3, 1.9),        # skin thickness, mm
                                rng.uniform(2.5, 6.5),        # fat thickness, mm
                                rng.uniform(0.8, 1.2),        # echo of muscle
                                model.muscle, model.perimysium, model.perimysium_mm / USUAL.perimysium_mm, model.fat,
                                model.fat_contrast, model.fat_lobule_mm / USUAL.fat_lobule_mm, model.fascia],
                               np.float32)
        self._table = _layout(rng)
        self._muscle = np.stack([rng.uniform(0.14, 0.30, MUSCLES),        # pennation angle, rad
                                 rng.uniform(0.75, 1.25, MUSCLES),        # echo
                                 rng.uniform(0, TEXTURE_CELLS, MUSCLES),  # place in the texture
                                 rng.uniform(0.8, 1.25, MUSCLES)], 1).astype(np.float32)   # fascicle size
        self._texture = _texture(rng)

    def reflectivity(self, points_mm: Points) -> Points:
        """Relative amplitude of diffuse scatter, float32 [M], at world points [M, 3]."""
        return self._each(scatter, points_mm)

    def attenuation(self, points_mm: Points) -> Points:
        """Attenuation in dB/(cm MHz), one way, float32 [M], at world points [M, 3]."""
        return self._each(weaken, points_mm)

    def distances(self, points_mm: Points) -> Points:
        """Distances in mm, float32 [M, 5], from the surfaces of `SURFACES` (large where there is none)."""
        out = np.empty((len(points_mm), len(SURFACES)), np.float32)
        distances(np.ascontiguousarray(points_mm, np.float32), self._table, self._shape, self._muscle,
                  self._texture, out)
        return out

    def sheets(self, rng: np.random.Generator) -> tuple[Points, Points]:
        """Coherent scatterers on the surfaces: points float32 [K, 3] in mm and amplitudes float32 [K].

        Points drawn uniformly in a thin shell about each surface and moved onto it along the gradient are
        uniform over its area; what does not land on it is dropped.
        """
        low, high = self.bounds_mm
        axes = [np.arange(a, b, BLOCK_MM) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        corners = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
        near = np.abs(self.distances(corners + np.float32(BLOCK_MM / 2)))
        points, amplitudes = [], []
        for s in SURFACES:
            blocks = corners[near[:, s.column] < BLOCK_MM * np.sqrt(3) / 2 + SHELL_MM]
            wanted = rng.poisson(s.per_mm2 / (2 * SHELL_MM) * BLOCK_MM**3, len(blocks))
            candidates = np.repeat(blocks, wanted, axis=0)
            candidates += BLOCK_MM * rng.random(candidates.shape, np.float32)
            points.append(self._onto(candidates, s.column))
            echo = 1.0 if s.column == CORTEX else self._shape[FASCIA]
            amplitudes.append(np.full(len(points[-1]), s.amplitude * echo, np.float32))
        return np.concatenate(points), np.concatenate(amplitudes)

    def normals(self, points_mm: Points) -> Points:
        """Unit normals [K, 3] of the surfaces at points on them; zero on bone, which shines at any angle."""
        d = self.distances(points_mm)
        column = np.abs(d).argmin(1)
        here = np.arange(len(d))
        g = np.stack([self.distances(points_mm + h)[here, column] - d[here, column]
                      for h in GRADIENT_STEP_MM * np.eye(3, dtype=np.float32)], 1)
        g[column == CORTEX] = 0
        return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)

    def artery(self, x_mm: Array) -> tuple[Array, Array, Array]:
        """y, z and radius (mm) of the artery at x along the arm, before the probe's imprint."""
        x = TABLE_START_MM + TABLE_STEP_MM * np.arange(len(self._table))
        y, z, radius = (np.interp(x_mm, x, self._table[:, ARTERY_COLUMN + k]) for k in range(3))
        return y, z * float(self._shape[0]), radius

    def _onto(self, p: Points, column: int) -> Points:
        """Those of the points [M, 3] within the shell of a surface, moved onto it by two secant steps."""
        d = self.distances(p)[:, column]
        p, d = p[np.abs(d) < SHELL_MM], d[np.abs(d) < SHELL_MM]
        ahead = [self.distances(p + h)[:, column] for h in GRADIENT_STEP_MM * np.eye(3, dtype=np.float32)]
        g = (np.stack(ahead, 1) - d[:, None]) / GRADIENT_STEP_MM
        downhill = g / np.clip((g**2).sum(1, keepdims=True), 0.1, 10.0)
        for _ in range(2):
            p = p - d[:, None] * downhill
            d = self.distances(p)[:, column]
        return p[np.abs(d) < LANDED_MM]

    def _each(self, kernel, points_mm: Points) -> Points:
        out = np.empty(len(points_mm), np.float32)
        kernel(np.ascontiguousarray(points_mm, np.float32), self._table, self._shape, self._muscle,
               self._texture, out)
        return out


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """Periodic smooth noise of unit variance on a cube of cells."""
    g = gaussian_filter(rng.standard_normal((TEXTURE_CELLS,) * 3), 0.9, mode="wrap")
    return (g / g.std()).astype(np.float32)


def _layout(rng: np.random.Generator) -> NDArray[np.float32]:
    """Cross sections along x, float32 [X, columns]: what lies where (y, z in mm; sizes in mm).

    Columns: thickness and half width of the arm; y, z of the muscle centres; y, z, radius of ulna and
    radius; y, z, radius of the vessels (0 artery, 1-3 veins, 4 nerve, 5 a vein in the fat).
    """
    x = TABLE_START_MM + TABLE_STEP_MM * np.arange(200)
    taper = 1 - 0.32 / (1 + np.exp(-(x - 90) / 40))
    size = rng.uniform(0.93, 1.08)

    def wander(amount: float) -> Array:
        waves = np.array([70.0, 130.0, 240.0]) * rng.uniform(0.8, 1.2, 3)
        phases = rng.uniform(0, 2 * np.pi, 3)
        return amount * np.mean(np.sin(2 * np.pi * x[:, None] / waves + phases), 1) * 1.2

    thickness, width = 82 * size * taper, 47 * size * taper * (1 + 0.03 * rng.standard_normal())
    columns = [thickness + wander(2), width + wander(2)]
    muscles = [(13, -33), (12, -13), (12.5, 6), (13, 25), (23, -22), (22, 2), (24, 26), (33, 0), (41, -33),
               (43, 34), (58, -20), (60, 3), (57, 24)]
    for y, z in muscles:
        columns += [(y + rng.normal(0, 1.5)) * taper * size + wander(2),
                    (z + rng.normal(0, 3)) * taper * size + wander(4)]
    turn = rng.normal(0, 0.15)
    for z, r in ((-17, 6.8), (17, 6.2)):       # ulna and radius; the radius widens towards the wrist
        y = 40 + rng.normal(0, 2) + turn * z
        grow = 1 + 0.25 / (1 + np.exp(-(x - 120) / 30)) * (1 if z > 0 else -1)
        columns += [y * taper * size + wander(1.5), (z + rng.normal(0, 1)) * taper * size + wander(2),
                    r * rng.uniform(0.92, 1.1) * grow]
    artery = np.array([18 + rng.normal(0, 1.5), rng.normal(5, 4)])
    vessels = [(*artery, 1.7), (*(artery + (0.8, 4.0)), 1.5), (*(artery + (-0.6, -4.1)), 1.3), (26, -24, 1.5),
               (*(artery + (6.5, -9)), 2.4), (4.2, rng.uniform(-25, 25), 1.3)]
    bend = wander(5)
    for k, (y, z, r) in enumerate(vessels):
        own = 0.4 if k < 3 else 3.0
        columns += [y * (taper if k < 5 else 1) + wander(own * 0.6), z * taper + (bend if k < 3 else 0) + wander(own),
                    r * rng.uniform(0.85, 1.2) + wander(0.15)]
    return np.stack(columns, 1).astype(np.float32)
