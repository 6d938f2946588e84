"""Normal equations of a trajectory: a band of near frames, and the blocks of frames far apart that meet again."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cho_solve_banded, cholesky_banded
from scipy.linalg.blas import dsbmv
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

Array = NDArray[np.float64]

ACCURACY = 1e-2         # of a solve with loops, relative: Gauss-Newton corrects the rest in its next step
MOST_ITERATIONS = 100
KNOTS_APART = 12         # frames: of the coarse level
MOST_KNOTS = 420         # it is solved whole; knots of long scans lie further apart


@numba.njit(nogil=True, cache=True)
def _scatter(band, width, fa, fb, H):
    for m in range(fa.size):
        for r in range(6):
            for c in range(6):
                row, col = 6 * fa[m] + r, 6 * fb[m] + c
                if row <= col:
                    band[width + row - col, col] += H[m, r, c]


@numba.njit(nogil=True, cache=True)
def _coarsen(band, width, fa, fb, H, apart, coarse):
    """Add the band and the far blocks to the normal equations [6 K, 6 K] of knots, between which steps are linear."""
    for col in range(band.shape[1]):
        b, c = col // 6, col % 6
        for row in range(max(col - width, 0), col + 1):
            a, r = row // 6, row % 6
            _spread(a, b, r, c, band[width + row - col, col], apart, coarse)
            if row < col:
                _spread(b, a, c, r, band[width + row - col, col], apart, coarse)
    for m in range(fa.size):
        for r in range(6):
            for c in range(6):
                _spread(fa[m], fb[m], r, c, H[m, r, c], apart, coarse)
                _spread(fb[m], fa[m], c, r, H[m, r, c], apart, coarse)


@numba.njit(nogil=True, cache=True)
def _spread(a, b, r, c, value, apart, coarse):
    ka, kb = a // apart, b // apart
    wa, wb = a / apart - ka, b / apart - kb
    coarse[6 * ka + r, 6 * kb + c] += (1 - wa) * (1 - wb) * value
    coarse[6 * ka + r, 6 * kb + 6 + c] += (1 - wa) * wb * value
    coarse[6 * ka + 6 + r, 6 * kb + c] += wa * (1 - wb) * value
    coarse[6 * ka + 6 + r, 6 * kb + 6 + c] += wa * wb * value


def _between_knots(n_frames: int, apart: int) -> csr_array:
    """Linear interpolation [6 n_frames, 6 K] from knots to frames."""
    k = np.arange(n_frames)
    at, w = k // apart, k / apart - k // apart
    rows = 6 * np.repeat(k, 2)[:, None] + np.arange(6)
    columns = 6 * np.stack([at, at + 1], 1).ravel()[:, None] + np.arange(6)
    weights = np.repeat(np.stack([1 - w, w], 1).ravel(), 6)
    return csr_array((weights, (rows.ravel(), columns.ravel())), shape=(6 * n_frames, 6 * (at[-1] + 2)))


class Normal:
    """Normal equations of 6 unknowns a frame.

    Factors over frames at most `reach` apart go into the upper band form of `scipy.linalg.solveh_banded`; the blocks
    of other pairs are kept as a sparse matrix beside it. Frames before `first` and from first + n_frames on are fixed.
    """

    def __init__(self, n_frames: int, reach: int, first: int = 0):
        self.first, self.n, self.reach, self.width = first, 6 * n_frames, reach, 6 * reach + 5
        self.band = np.zeros((self.width + 1, self.n), order="F")     # as LAPACK takes it, without a copy
        self.rhs = np.zeros((n_frames, 6))
        self.far: list[tuple[NDArray[Any], NDArray[Any], Array]] = []

    def add(self, blocks: list[tuple[NDArray[Any], NDArray[Any]]], gradient: Array, hessian: Array) -> None:
        """Add factors: `blocks` holds (frame [M], J [M, D, 6]) of each frame they touch, earlier frames first."""
        count = len(self.rhs)
        for a, (fa, Ja) in enumerate(blocks):
            Jat = np.swapaxes(Ja, 1, 2)
            fa = fa - self.first
            moves = (fa >= 0) & (fa < count)
            np.add.at(self.rhs, fa[moves], -(Jat @ gradient[..., None])[moves, :, 0])
            for fb, Jb in blocks[a:]:
                fb = fb - self.first
                H = Jat @ hessian @ Jb
                both = moves & (fb >= 0) & (fb < count)
                near = both & (fb - fa <= self.reach)
                _scatter(self.band, self.width, fa[near], fb[near], H[near])
                far = both & ~near
                if far.any():
                    self.far.append((fa[far], fb[far], H[far]))

    def _far(self) -> tuple[NDArray[Any], NDArray[Any], Array]:
        """Frames [M], frames [M] and blocks [M, 6, 6] outside the band."""
        fa, fb, H = zip(*self.far, strict=True)
        return np.concatenate(fa), np.concatenate(fb), np.concatenate(H)

    def _sparse(self, fa: NDArray[Any], fb: NDArray[Any], H: Array) -> csr_array:
        """Blocks outside the band as a matrix, both triangles."""
        rows, cols = np.broadcast_arrays(6 * fa[:, None, None] + np.arange(6)[:, None],
                                         6 * fb[:, None, None] + np.arange(6))
        upper = csr_array((H.ravel(), (rows.ravel(), cols.ravel())), shape=(self.n, self.n))
        return upper + upper.T

    def step(self, damping: float) -> Array:
        """Gauss-Newton step [N, 6], the diagonal raised by the share `damping`; frame 0 of the scan stays.

        Without far blocks by Cholesky of the band; with them by conjugate gradients (Nocedal & Wright 2006, section
        5.1) with a preconditioner of two levels: the band, which holds the diagonal blocks of the far pairs too, and
        steps that are linear between knots, solved whole, for what far pairs bend slowly.
        """
        band = self.band.copy(order="F")
        band[self.width] = band[self.width] * (1 + damping) + 1e-9
        if self.first == 0:
            band[self.width, :6] += 1e12
        factor = cholesky_banded(band, overwrite_ab=not self.far, check_finite=False)

        def inverse(v):
            return cho_solve_banded((factor, False), v, check_finite=False)

        rhs = self.rhs.ravel()
        if not self.far:
            return inverse(rhs).reshape(-1, 6)
        fa, fb, H = self._far()
        apart = max(KNOTS_APART, -(-self.n // 6 // MOST_KNOTS))
        between = _between_knots(self.n // 6, apart)
        coarse = np.zeros((between.shape[1],) * 2)
        _coarsen(band, self.width, fa, fb, H, apart, coarse)
        coarse[np.diag_indices_from(coarse)] += 1e-9
        knots = cho_factor(coarse, check_finite=False)
        far = self._sparse(fa, fb, H)

        def both_levels(v):
            return inverse(v) + between @ cho_solve(knots, between.T @ v, check_finite=False)

        whole = LinearOperator((self.n, self.n), matvec=lambda v: dsbmv(self.width, 1.0, band, v) + far @ v,
                               dtype=float)
        d, _ = cg(whole, rhs, rtol=ACCURACY, maxiter=MOST_ITERATIONS,
                  M=LinearOperator((self.n, self.n), matvec=both_levels, dtype=float))
        return d.reshape(-1, 6)
