"""A cheap inertial sensor on a probe: noisy orientations, a turn about the vertical that drifts, in its own axes.

Like a BNO055, which fuses its gyroscope and accelerometer itself and puts out 100 quaternions a second.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sensor:
    """How a sensor is and sits.

    Attributes
    ----------
    noise_deg : standard deviation of a sample about each axis.   drift_deg_per_min : of the turn about the vertical.
    rate_hz : samples a second.   offset_s : what its clock shows when that of the frames shows 0.
    more_s : for which it records before and after the scan.
    R_sensor_image : [3, 3], how it sits; None draws it.   R_world : [3, 3] (z up), how the first image stands in the
        world; None: the beam down, about any direction, leaning a little.
    """

    noise_deg: float = 0.3
    drift_deg_per_min: float = 3.0
    rate_hz: float = 100.0
    offset_s: float = 0.0
    more_s: float = 1.0
    R_sensor_image: Array | None = None
    R_world: Array | None = None


def record(T_first_frame: Array, times_s: Array, sensor: Sensor = Sensor(), seed: int = 0) -> Array:
    """What a sensor logs [K, 5], times (s) and quaternions (w, x, y, z), along poses [N, 4, 4] at `times_s` [N]."""
    rng = np.random.default_rng(seed)
    mount = Rotation.random(rng=rng) if sensor.R_sensor_image is None else Rotation.from_matrix(sensor.R_sensor_image)
    if sensor.R_world is None:
        beam_down = Rotation.from_matrix([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        lean = Rotation.from_rotvec(np.radians(10) * rng.normal(size=3))
        start = Rotation.from_euler("z", rng.uniform(0, 360), degrees=True) * lean * beam_down
    else:
        start = Rotation.from_matrix(sensor.R_world)
    at = np.arange(times_s[0] - sensor.more_s, times_s[-1] + sensor.more_s, 1 / sensor.rate_hz)
    true = Slerp(times_s, Rotation.from_matrix(T_first_frame[:, :3, :3]))(np.clip(at, times_s[0], times_s[-1]))
    drift = Rotation.from_rotvec(np.outer(np.radians(sensor.drift_deg_per_min) * (at - at[0]) / 60, [0, 0, 1]))
    noise = Rotation.from_rotvec(np.radians(sensor.noise_deg) * rng.normal(size=(len(at), 3)))
    q = (drift * start * true * mount.inv() * noise).as_quat()
    return np.column_stack([at + sensor.offset_s, q[:, [3, 0, 1, 2]]])


def write(path: Path | str, table: Array) -> None:
    """Write a log [K, 5] as CSV."""
    np.savetxt(path, table, delimiter=",", header="time_s,qw,qx,qy,qz", comments="", fmt="%.6f")
