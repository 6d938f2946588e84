"""In-plane motion of a scan: a step into each frame from the matches of its pairs (METHOD.md, section 2)."""


import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from .block_matching import PlanarMotion
from .planar_motions import chain_poses, se2_logs

Array = NDArray[np.float64]

ROUGHNESS = np.array([0.3, 0.3, 0.01])      # mm, mm, rad: change of the planar step from frame to frame
LEAST_SHARE = 0.03                           # of the blocks: the fewer agree, the wider the covariance
CHAIN_CUTOFF = 6.0                           # standard deviations: a match that its neighbours contradict
MATCH_FLOOR = np.array([0.01, 0.005, 3e-4])  # mm, mm, rad: what a match misses beyond its own scatter
PULLED_LAG = 4                               # frames, below which what does not move with the tissue adds to that


def match_information(motion: PlanarMotion) -> Array:
    """Information [M, 3, 3] of matches: their covariance, widened where few blocks agree and where a lag is short.

    Structures that cross the image plane at an angle slide as the plane moves: the few blocks that still match then
    agree on a motion that is not the probe's, and their error goes with 1 / share. Neighbours are pulled towards no
    motion by lines coarser than pixels and by all that stays where it is: over longer lags this matters less.
                                                                                                   METHOD.md (2.5)
    """
    widening = 1 / np.clip(motion.share, LEAST_SHARE, 1) ** 2
    pulled = np.sqrt(np.maximum(PULLED_LAG / np.maximum(motion.j - motion.i, 1), 1))
    floor = np.square(MATCH_FLOOR * pulled[:, None])[:, :, None] * np.eye(3)
    return np.asarray(np.linalg.inv(motion.covariance * widening[:, None, None] + floor))


def planar_chain(motion: PlanarMotion, n_frames: int) -> tuple[Array, Array]:
    """Planar step into each frame from matches at several lags.

    Least squares over all steps: a match at lag L measures the sum of L steps (their rotations are small
    enough for sums, corrected for the order of composition), steps change slowly where nothing matched, and
    matches that contradict the others lose weight (Cauchy).

    Returns
    -------
    step : [N, 3] twist into each frame, [0] zero.   covariance : [N, 3, 3].
    """
    if n_frames < 2:
        return np.zeros((n_frames, 3)), np.zeros((n_frames, 3, 3))
    reach = max(int((motion.j - motion.i).max(initial=1)), 2)
    information = match_information(motion)
    width = 3 * reach + 2
    smooth = np.diag(1 / ROUGHNESS**2)
    inner = np.arange(1, n_frames - 1)
    step = np.zeros((n_frames, 3))
    first = motion.j - motion.i == 1
    step[motion.j[first]] = motion.twist[first]
    for iteration in range(4):
        chain = chain_poses(step)
        e = motion.twist - se2_logs(np.linalg.solve(chain[motion.i], chain[motion.j]))
        W = information
        if iteration:
            W = W / (1 + np.einsum("ma,mab,mb->m", e, W, e) / CHAIN_CUTOFF**2)[:, None, None]
        pull = np.einsum("mab,mb->ma", W, e)
        blocks, rhs = np.zeros((reach, n_frames, 3, 3)), np.zeros((n_frames, 3))      # of step k and of step k - d
        for ahead in range(1, reach + 1):
            within = motion.j - motion.i >= ahead
            k = motion.i[within] + ahead
            np.add.at(rhs, k, pull[within])
            for d in range(ahead):
                np.add.at(blocks[d], k, W[within])
        change = (step[inner + 1] - step[inner]) @ smooth
        rhs[inner] += change
        rhs[inner + 1] -= change
        blocks[0, inner] += smooth
        blocks[0, inner + 1] += smooth
        blocks[1, inner + 1] -= smooth
        rows = np.zeros((width + 1, n_frames, 3))
        for d, m, k in np.ndindex(reach, 3, 3):
            if 3 * d + k >= m:
                rows[width + m - 3 * d - k, :, k] = blocks[d, :, m, k]
        band = rows.reshape(width + 1, -1)
        band[width] += 1e-9
        band[width, :3] += 1e12
        step = step + solveh_banded(band, rhs.ravel()).reshape(-1, 3)
    covariance = np.zeros((n_frames, 3, 3))
    alone = np.tile(np.diag(ROUGHNESS**2), (n_frames, 1, 1))
    alone[motion.j[first]] = np.linalg.inv(information[first] + smooth)
    covariance[1:] = alone[1:]
    step[0] = 0
    return step, covariance
