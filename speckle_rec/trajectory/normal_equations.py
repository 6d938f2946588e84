"""Normal equations of a trajectory: a band of near frames, and the blocks of frames far apart that meet again."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cho_solve_banded, cholesky_banded
from scipy.linalg.blas import dsbmv
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

from ..kernels.twists import Equations, Moved, gather

Array = NDArray[np.float64]

ACCURACY = 1e-2         # of a solve with loops, relative: Gauss-Newton corrects the rest in its next step
MOST_ITERATIONS = 100
KNOTS_APART = 12         # frames: of the coarse level
MOST_KNOTS = 420         # it is solved whole; knots of long scans lie further apart


@numba.njit(nogil=True, cache=True)
def _coarsen(band, reach, fa, fb, H, apart, coarse):
    """Add the band and the far blocks to the normal equations [6 K, 6 K] of knots, between which steps are linear."""
    width, block = band.shape[0] - 1, np.empty((6, 6))
    for b in range(band.shape[1] // 6):
        for a in range(max(b - reach, 0), b + 1):
            for r in range(6):
                for c in range(6):
                    row, column = 6 * a + r, 6 * b + c
                    block[r, c] = band[width + row - column, column] if row <= column else 0.0
            if a == b:
                for r in range(6):
                    for c in range(r):
                        block[r, c] = block[c, r]
            _spread(a, b, block, apart, coarse)
            if a < b:
                _spread(b, a, block.T, apart, coarse)
    for m in range(fa.size):
        _spread(fa[m], fb[m], H[m], apart, coarse)
        _spread(fb[m], fa[m], H[m].T, apart, coarse)


@numba.njit(nogil=True, cache=True)
def _spread(a, b, block, apart, coarse):
    ka, kb = a // apart, b // apart
    wa, wb = a / apart - ka, b / apart - kb
    for r in range(6):
        for c in range(6):
            early, late = (1 - wa) * block[r, c], wa * block[r, c]
            row, column = 6 * ka + r, 6 * kb + c
            coarse[row, column] += (1 - wb) * early
            coarse[row, column + 6] += wb * early
            coarse[row + 6, column] += (1 - wb) * late
            coarse[row + 6, column + 6] += wb * late


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
        blocks = [(frames - self.first, np.ascontiguousarray(J)) for frames, J in blocks]
        gradient, hessian = np.ascontiguousarray(gradient), np.ascontiguousarray(hessian)
        for a, (fa, Ja) in enumerate(blocks):
            for b, (fb, Jb) in enumerate(blocks[a:], a):
                far = (fa >= 0) & (fb < len(self.rhs)) & (fb - fa > self.reach)
                H = np.empty((int(far.sum()), 6, 6))
                gather(Moved(fa, Ja), Moved(fb, Jb), gradient if a == b else gradient[:0], hessian,
                       Equations(self.reach, self.band, self.rhs), H)
                if len(H):
                    self.far.append((fa[far], fb[far], H))

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
        _coarsen(band, self.reach, fa, fb, H, apart, coarse)
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
