"""The challenge's formulas, literally: dense fields over all pixels, in numpy."""

import numpy as np


def field(T, scale, shape):
    """float64 [3, rows * columns] of one pose; rows ordered y outer, x inner."""
    y, x = np.meshgrid(np.arange(1, shape[0] + 1), np.arange(1, shape[1] + 1), indexing="ij")
    p = np.stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    return (T @ scale @ p - scale @ p)[:3]


def fields(T, scale, shape):
    """float64 [N-1, 3, rows * columns] of the poses after the first."""
    return np.stack([field(t, scale, shape) for t in T[1:]])


def at_landmarks(DDF, landmarks, shape):
    """float64 [3, L], looked up at [frame - 1, :, y - 1, x - 1]."""
    D = DDF.reshape(len(DDF), 3, *shape)
    return np.stack([D[f - 1, :, y - 1, x - 1] for f, x, y in landmarks], -1)


def errors(T_first, T_prev, T_first_true, T_prev_true, scale, shape, landmarks):
    """GPE, GLE, LPE, LLE."""
    out = []
    for est, true in ((T_first, T_first_true), (T_prev, T_prev_true)):
        a, b = fields(est, scale, shape), fields(true, scale, shape)
        out.append(np.sqrt(((a - b) ** 2).sum(1)).mean())
        la, lb = at_landmarks(a, landmarks, shape), at_landmarks(b, landmarks, shape)
        out.append(np.sqrt(((la - lb) ** 2).sum(0)).mean())
    return out
