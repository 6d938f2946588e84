"""Where the tissue goes during a scan: pressed and dragged by the probe, twitching, beating."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..probe.field import ProbeGeometry
from .machine import COMPRESSION_DEPTH_MM, COMPRESSION_REACH_MM, COMPRESSION_WIDTH_MM, compression
from .scatterers import Tissue
from .settings import Body

Array = NDArray[np.float64]
Warp = Callable[[Array], Array]

TWITCH_RADIUS_MM = 14.0
TWITCH_DEPTH_MM = (10.0, 32.0)
TWITCH_AWAY_MM = 12.0        # from the line under the face, at most
TWITCH_WAY = np.array([0.8, 0.5, 0.3])     # mostly along the fibres
VESSEL_MM = 4.0              # distance from the artery's axis at which tissue moves most
BEAT_PEAK = 0.15             # part of a beat after which the wall is farthest out
UNEVEN_BEATS = 0.05


class Movement:
    """The displacement of tissue at rest in every frame of a scan.

    Parameters
    ----------
    pushed_mm : float64 [N]
        How deep the tissue under the face is pressed in, see `machine.compression`.
    """

    def __init__(self, body: Body, T_world_image: Array, geometry: ProbeGeometry, pushed_mm: Array, tissue: Tissue,
                 rng: np.random.Generator):
        self._body, self._T, self._geometry = body, T_world_image, geometry
        self._pushed, self._tissue = pushed_mm, tissue
        n = len(T_world_image)
        self._before = lagging(T_world_image, body.follow_frames) if body.follow else T_world_image
        self._twitches = _twitches(body, T_world_image @ np.array([*geometry.face_mm, 0, 1]), rng)
        uneven = UNEVEN_BEATS * rng.standard_normal(int(n / body.pulse_frames * 2) + 3)
        beats = np.cumsum(body.pulse_frames * (1 + uneven))
        beats -= rng.random() * body.pulse_frames
        since = np.arange(n) - beats[np.clip(np.searchsorted(beats, np.arange(n), side="right") - 1, 0, None)]
        t = np.mod(since, body.pulse_frames) / body.pulse_frames / BEAT_PEAK
        self._beat = t * np.exp(1 - t)

    def warp(self, i: int) -> Warp | None:
        """World points [K, 3] (mm) at rest -> where they are in frame i; None where nothing moves."""
        parts: list[Warp] = []
        if self._pushed[i]:
            press = compression(self._T[i], self._pushed[i], self._geometry)
            parts.append(lambda p: press(p) - p)
        if self._body.follow:
            parts.append(lambda p: self._dragged(i, p))
        parts += [lambda p, t=t: t(i, p) for t in self._twitches]      # type: ignore[misc]
        if self._body.pulse_mm:
            parts.append(lambda p: self._beaten(i, p))
        if not parts:
            return None

        def warp(p: Array) -> Array:
            move = np.sum([part(p) for part in parts], axis=0)
            size = np.linalg.norm(move, axis=-1, keepdims=True)
            return p + move * np.minimum(COMPRESSION_REACH_MM / np.maximum(size, 1e-9), 1)
        return warp

    def _dragged(self, i: int, p: Array) -> Array:
        """What the probe takes along of the way it went of late, at most `COMPRESSION_REACH_MM`."""
        T = self._T[i]
        face, axis = (T @ np.array([*self._geometry.face_mm, 0, 1]))[:3], T[:3, 1]
        went = T @ se3.inverse(self._before[i])
        from_face = p - face
        depth = from_face @ axis
        side2 = (from_face**2).sum(-1) - depth**2
        share = self._body.follow * np.exp(-np.maximum(depth, 0) / COMPRESSION_DEPTH_MM
                                           - side2 / (2 * COMPRESSION_WIDTH_MM**2))
        move = share[..., None] * (p @ went[:3, :3].T + went[:3, 3] - p)
        size = np.maximum(np.linalg.norm(move, axis=-1, keepdims=True), 1e-9)
        return move * np.tanh(size / COMPRESSION_REACH_MM) * COMPRESSION_REACH_MM / size

    def _beaten(self, i: int, p: Array) -> Array:
        y, z, _ = self._tissue.artery(p[..., 0])
        away = np.stack([np.zeros_like(y), p[..., 1] - y, p[..., 2] - z], -1)
        rho2 = (away**2).sum(-1, keepdims=True)
        return self._body.pulse_mm * self._beat[i] * away * 2 * VESSEL_MM / (rho2 + VESSEL_MM**2)


def reach_mm(body: Body, compression: float) -> float:
    """How far tissue is ever displaced."""
    return COMPRESSION_REACH_MM if compression or body.moves else 0.0


def lagging(T: Array, frames: float) -> Array:
    """Poses [N, 4, 4] that follow those given with an exponential lag."""
    out = T.copy()
    for i in range(1, len(T)):
        out[i] = out[i - 1] @ se3.exp(se3.log(se3.inverse(out[i - 1]) @ T[i]) / frames)
    return out


def _twitches(body: Body, face: Array, rng: np.random.Generator) -> list[Callable[[int, Array], Array]]:
    """Each: frame and points [K, 3] -> displacement [K, 3] of one contraction."""
    out: list[Callable[[int, Array], Array]] = []
    for _ in range(body.twitches):
        n = len(face)
        lasts = body.twitch_frames * rng.uniform(0.7, 1.3)
        middle = rng.uniform(0.1, 0.9) * n
        centre = face[int(middle), :3] + rng.uniform(-1, 1, 3) * TWITCH_AWAY_MM
        centre[1] = face[int(middle), 1] + rng.uniform(*TWITCH_DEPTH_MM)
        way = TWITCH_WAY * rng.choice((-1, 1), 3)
        size = body.twitch_mm * rng.uniform(0.5, 1.5) * way / np.linalg.norm(way)
        now = np.cos(np.pi * np.clip((np.arange(n) - middle) / lasts, -0.5, 0.5)) ** 2

        def twitch(i: int, p: Array, now=now, centre=centre, size=size) -> Array:
            near = np.exp(-((p - centre) ** 2).sum(-1) / (2 * TWITCH_RADIUS_MM**2))
            return now[i] * near[..., None] * size
        out.append(twitch)
    return out
