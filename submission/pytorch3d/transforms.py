"""Rotation matrices, Euler angles and quaternions (real part first), batched, in torch."""

import torch

AXES = {"X": 0, "Y": 1, "Z": 2}


def euler_angles_to_matrix(euler_angles, convention):
    """Rotation matrices [..., 3, 3] of angles [..., 3] (rad) about the axes of a convention such as "ZYX"."""
    matrix = torch.eye(3, dtype=euler_angles.dtype, device=euler_angles.device)
    for k, letter in enumerate(convention):
        matrix = matrix @ _about(AXES[letter], euler_angles[..., k])
    return matrix


def matrix_to_euler_angles(matrix, convention):
    """Angles [..., 3] (rad) such that `euler_angles_to_matrix` gives the matrices [..., 3, 3] again.

    Three different axes only (Tait-Bryan angles); the second angle lies in -pi/2..pi/2.
    """
    i, j, k = (AXES[letter] for letter in convention)
    if len({i, j, k}) != 3:
        raise ValueError(f"expected three different axes, found {convention}")
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    first = torch.atan2(-sign * matrix[..., j, k], matrix[..., k, k])
    second = torch.asin(torch.clamp(sign * matrix[..., i, k], -1.0, 1.0))
    third = torch.atan2(-sign * matrix[..., i, j], matrix[..., i, i])
    return torch.stack([first, second, third], -1)


def quaternion_to_matrix(quaternions):
    """Rotation matrices [..., 3, 3] of quaternions [..., 4], of any length, real part first."""
    w, x, y, z = torch.unbind(quaternions, -1)
    s = 2.0 / (quaternions * quaternions).sum(-1)
    rows = [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w),
            s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w),
            s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)]
    return torch.stack(rows, -1).reshape(*quaternions.shape[:-1], 3, 3)


def _about(axis, angle):
    c, s, one, zero = torch.cos(angle), torch.sin(angle), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {0: [one, zero, zero, zero, c, -s, zero, s, c],
            1: [c, zero, s, zero, one, zero, -s, zero, c],
            2: [c, -s, zero, s, c, zero, zero, zero, one]}[axis]
    return torch.stack(rows, -1).reshape(*angle.shape, 3, 3)
