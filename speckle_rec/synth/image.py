"""From scatterers and a pose to a B-mode frame."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..compute.device import arrays, to_host
from ..kernels import bmode, gpu_bmode, gpu_scatter, scatter
from ..kernels.scatter import Axes, Lattice, Scatterers
from ..probe.field import ProbeGeometry
from .beam import Beam, lateral_exponent, lens_table, probe_of
from .clutter import Stray
from .picture import Picture
from .scatterers import STANDARD_DENSITY, VOXEL_MM, Medium, Tissue
from .settings import Clutter

Complex = NDArray[np.complex64]
Warp = Callable[[NDArray], NDArray]

RANGE_OVERSAMPLING = 2     # grid points of the deposit a sample of the baseband
LATERAL_OVERSAMPLING = 2   # grid points of the deposit a line
KERNEL_SDS = 3.0           # half width of the blurs
ATTENUATION_STEPS = (300, 96)   # range x lateral
WARP_STEP_MM = 4.0
SEEN_FROM_MM = 16.0        # tissue farther than this from what is heard does not move into it


def range_step(beam: Beam) -> float:
    """Range step of the baseband, mm."""
    return beam.pulse_sd_mm * 0.5 * RANGE_OVERSAMPLING


def polar_axes(beam: Beam, geometry: ProbeGeometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Range r [n_r] (mm) and lateral u [n_lines] (rad or mm) of the baseband."""
    step = range_step(beam)
    n_r = int((geometry.depth_mm[1] - geometry.depth_mm[0]) / step) + 1
    r = geometry.depth_mm[0] + step * np.arange(n_r, dtype=np.float64)
    return r, np.linspace(*geometry.lateral, beam.n_lines)


def _splat_power(kernel: NDArray) -> NDArray[np.float64]:
    """Mean power [...] that unit points, shared linearly by two neighbours, have after `kernel` [..., T]."""
    own = np.sum(np.abs(kernel) ** 2, -1)
    next_one = np.sum((kernel[..., 1:] * np.conj(kernel[..., :-1])).real, -1)
    return own * 2 / 3 + next_one / 3


class Renderer:
    """Renders frames of a medium; all that does not depend on the pose is worked out once.

    A frame depends on its arguments only, so frames may be shared among processes at will.

    Parameters
    ----------
    device : "cpu", or "gpu" for the same frames but for rounding: there echoes are added in no fixed order.
    picture : how echoes become grey levels; its field of view is that of `geometry`.
    stray : clutter that is added to the echoes.
    """

    _lateral: Any           # on the device once `_upload` is done, as are these three
    _lateral_half: Any
    _row_gain: Any
    _noise: Any

    def __init__(self, medium: Medium, tissue: Tissue, beam: Beam, geometry: ProbeGeometry, device: str = "cpu",
                 picture: Picture | None = None, stray: Stray | None = None):
        self.medium, self.tissue, self.beam, self.geometry = medium, tissue, beam, geometry
        self.stray = stray or Stray(Clutter())
        self.device = device
        self.linear = geometry.kind == "linear"
        self.r_mm, self.u = polar_axes(beam, geometry)
        self._probe = probe_of(geometry)
        self._lens, self._power = lens_table(beam, geometry)
        self._set_pulse()
        self._set_lateral()
        self._set_gain()
        self._set_attenuation()
        self._still = self.stray.still(self.r_mm, beam.n_lines, beam, geometry)
        self._screen = screen_of(beam, geometry, picture)
        self._upload()

    def _upload(self):
        """Bring what no frame changes to the device."""
        xp, _, _ = _backend(self.device)
        put, medium, lens = xp.asarray, self.medium, self._lens
        sheet = len(medium.start) if medium.normal is None else medium.sheet
        half_mm = VOXEL_MM * float(np.sqrt(3)) / 2
        self._scatterers = Scatterers(put(medium.points), put(medium.amplitude), put(medium.centre[:sheet]),
                                      put(medium.start[:sheet]), put(medium.stop[:sheet]), half_mm)
        self._sheets: Scatterers | None = None
        if medium.normal is not None:
            first = len(medium.points) - len(medium.normal)
            self._sheets = Scatterers(put(medium.points[first:]), put(medium.amplitude[first:]),
                                      put(medium.centre[sheet:]), put(medium.start[sheet:] - first),
                                      put(medium.stop[sheet:] - first), half_mm)
            self._normal = put(medium.normal)
        self._still = None if self._still is None else put(self._still)
        self._lens = lens._replace(profile=put(lens.profile), curvature=put(lens.curvature), reach=put(lens.reach))
        self._pulse_there, self._lateral = put(self._pulse), put(self._lateral)
        self._lateral_half, self._row_gain = map(put, (self._lateral_half, self._row_gain))
        self._noise = put(self._noise)
        gain = self._screen.gain
        self._there = self._screen._replace(table=tuple(map(put, self._screen.table)),
                                            gain=None if gain is None else put(gain))

    def _set_pulse(self):
        step = range_step(self.beam) / RANGE_OVERSAMPLING
        variance = self.beam.pulse_sd_mm**2 - step**2 / 6   # the deposit has blurred by step^2 / 6
        half = int(np.ceil(KERNEL_SDS * self.beam.pulse_sd_mm / step))
        t = np.arange(-half, half + 1) * step
        self._pulse = np.exp(-(t**2) / (2 * variance)).astype(np.float32)
        self._range_pad, self._fine_dr = half, step
        n = (len(self.r_mm) - 1) * RANGE_OVERSAMPLING + 1 + 2 * half
        self._fine_r = self.r_mm[0] + step * (np.arange(n) - half)

    def _set_lateral(self):
        geometry = self.geometry
        pitch = (self.u[1] - self.u[0]) / LATERAL_OVERSAMPLING
        metric = np.ones_like(self._fine_r)
        if not self.linear:
            metric = np.maximum(self._fine_r + geometry.radius_mm, 1.0)
        a = lateral_exponent(self.beam, geometry, self._fine_r)
        variance = np.maximum(1 / (2 * a.real) - (metric * pitch) ** 2 / 6, (metric * pitch / 3) ** 2)
        a = 1 / (2 * variance) + 1j * a.imag
        self._lateral_half = np.ceil(KERNEL_SDS * np.sqrt(variance) / (metric * pitch)).astype(np.int64)
        half = int(self._lateral_half.max())
        t = np.arange(-half, half + 1)
        x = t * pitch * metric[:, None]
        kernel = np.where(np.abs(t) <= self._lateral_half[:, None], np.exp(-a[:, None] * x**2), 0)
        self._lateral = kernel.astype(np.complex64)
        self._lateral_pad, self._fine_du = half + 1, pitch
        self._fine_n_u = (self.beam.n_lines - 1) * LATERAL_OVERSAMPLING + 1 + 2 * self._lateral_pad
        self._cell_mm2 = metric * pitch * self._fine_dr

    def _set_gain(self):
        """Row gain that makes standard speckle of unit rms at each range, and the noise that it amplifies."""
        power = self._power
        elevation = np.interp(self._fine_r, self._lens.r0 + self._lens.dr * np.arange(len(power)), power)
        # scatterers a grid point times what each one leaves in a sample
        echo = STANDARD_DENSITY * self._cell_mm2 * elevation * _splat_power(self._lateral)
        self._row_gain = (1 / np.sqrt(echo * _splat_power(self._pulse))).astype(np.float32)
        tgc = 10 ** (self.beam.tgc_db_cm_mhz * self.beam.frequency_hz * 1e-6 * self._fine_r / 100)
        noise = tgc * np.sqrt(elevation)   # a wide beam is a weak one: echo energy varies as 1 / width
        last = np.searchsorted(self._fine_r, self.r_mm[-1])
        thermal = 10 ** (self.beam.noise_db / 20) * noise / noise[min(last, len(noise) - 1)]
        level = np.hypot(thermal, self.stray.moving(self._fine_r, self.geometry.depth_mm[1]))
        self._noise = (level / np.sqrt(2 * np.sum(self._pulse.astype(float) ** 2))).astype(np.float32)

    def _set_attenuation(self):
        n_r, n_u = ATTENUATION_STEPS
        low, high = self.geometry.depth_mm
        self._attenuation_dr = (high - low) / n_r
        r = low + (np.arange(n_r) + 0.5) * self._attenuation_dr
        u = np.linspace(*self.geometry.lateral, n_u)
        x, y = self.geometry.cartesian(*np.meshgrid(r, u, indexing="ij"))
        self._attenuation_points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], -1).reshape(-1, 4)

    def _attenuation_gain(self, T_world_image: NDArray, warp: Warp | None) -> NDArray[np.float32]:
        """Amplitude [range, lateral] that two-way attenuation leaves after TGC (eq. 9)."""
        points = (self._attenuation_points @ T_world_image.T)[:, :3]
        if warp is not None:
            material = points
            for _ in range(2):   # fixed point of warp(material) = points
                material = points - (warp(material) - material)
            points = material
        db = np.asarray(self.tissue.attenuation(points.astype(np.float32)), float).reshape(ATTENUATION_STEPS)
        f_mhz = self.beam.frequency_hz * 1e-6
        through = np.cumsum(2 * f_mhz * self._attenuation_dr / 10 * (db - self.beam.tgc_db_cm_mhz), 0)
        through = np.vstack([np.zeros((1, db.shape[1])), through])
        return self.stray.soften((10 ** (-through / 20)).astype(np.float32), self.geometry)

    def _facing(self, sheets: Scatterers, T_world_image: NDArray, xp) -> Scatterers:
        """The sheets as bright as the beam meets them: exp(-(angle of incidence / lobe)^2) in amplitude."""
        T = T_world_image
        z = sheets.points @ xp.asarray(T[:3, 2], np.float32) - np.float32(T[:3, 2] @ T[:3, 3])
        near = xp.nonzero(xp.abs(z) < self._lens.top + SEEN_FROM_MM)[0]     # the others are not heard anyway
        normal = self._normal[near]
        if self.linear:
            cosine = normal @ xp.asarray(T[:3, 1], np.float32)
        else:
            apex = (T @ np.array([*self.geometry.apex_mm, 0, 1]))[:3]
            look = sheets.points[near] - xp.asarray(apex, np.float32)
            cosine = (normal * look).sum(1) / xp.sqrt((look**2).sum(1))
        angle = xp.arccos(xp.minimum(xp.abs(cosine), 1)) / np.float32(np.deg2rad(self.medium.lobe_deg))
        lies = (normal**2).sum(1) > 0.5
        amplitude = sheets.amplitude.copy()
        amplitude[near] *= xp.where(lies, xp.exp(-(angle**2)), np.float32(1))
        return sheets._replace(amplitude=amplitude)

    def _displacement(self, warp: Warp | None, T_world_image: NDArray) -> Lattice:
        """Displacement lattice of a warp over the medium, zero where a frame hears nothing."""
        if warp is None:
            return Lattice(np.zeros((0, 0, 0, 3), np.float32), np.zeros(3), 1.0)
        low, high = self.medium.bounds_mm
        origin = low - VOXEL_MM
        count = np.ceil((high - low + 2 * VOXEL_MM) / WARP_STEP_MM).astype(int) + 1
        nodes = origin + WARP_STEP_MM * np.moveaxis(np.indices(count), 0, -1)
        flat = nodes.reshape(-1, 3)
        z = (flat - T_world_image[:3, 3]) @ T_world_image[:3, 2]
        near = np.abs(z) < self._lens.top + SEEN_FROM_MM
        field = np.zeros(flat.shape, np.float32)
        field[near] = warp(flat[near]) - flat[near]
        return Lattice(field.reshape(nodes.shape), origin, WARP_STEP_MM)

    def baseband(self, T_world_image: NDArray, rng_noise: np.random.Generator | None, *,
                 warp: Warp | None = None, contact: NDArray | float = 1.0) -> Complex:
        """Complex baseband [n_r, n_lines] on `polar_axes`; standard speckle has an rms of 1.

        Parameters
        ----------
        T_world_image : float64 [4, 4]
        rng_noise : Generator or None
            Source of the thermal noise; None: no noise.
        warp : callable, optional
            World mm [K, 3] -> world mm: where the tissue at rest has moved.
        contact : float or array over lines
            Part of the amplitude that passes the coupling, each way; stretched to the lines.
        """
        return to_host(self._baseband(np.asarray(T_world_image, float), rng_noise, warp, contact))

    def _baseband(self, T_world_image: NDArray, rng_noise: np.random.Generator | None, warp: Warp | None,
                  contact: NDArray | float):
        """`baseband` on the device."""
        xp, echoes, kernels = _backend(self.device)
        put = xp.asarray
        grid = xp.zeros((len(self._fine_r), self._fine_n_u), np.complex64)
        axes = Axes(float(self._fine_r[0]), self._fine_dr, self.u[0] - self._lateral_pad * self._fine_du, self._fine_du)
        field, origin, step = self._displacement(warp, T_world_image)
        lattice = Lattice(put(field), put(origin), step)
        pose = put(se3.inverse(T_world_image))
        sheets = None if self._sheets is None else self._facing(self._sheets, T_world_image, xp)
        for scatterers in (self._scatterers, sheets):
            if scatterers is not None:
                echoes.deposit(scatterers, pose, self._probe, axes, self._lens, lattice, grid)
        field = xp.empty((len(self._fine_r), self.beam.n_lines), np.complex64)
        kernels.blur_lateral(grid, self._lateral, self._lateral_half, self._lateral_pad, LATERAL_OVERSAMPLING, field)
        gain = self._attenuation_gain(T_world_image, warp)
        contact = np.atleast_1d(np.asarray(contact, float))
        if contact.size > 1 or contact[0] != 1:
            lines = np.linspace(0, 1, gain.shape[1])
            coupling = np.interp(lines, np.linspace(0, 1, contact.size), contact)
            gain = (gain * coupling**2).astype(np.float32)
        pad = self._range_pad
        kernels.apply_gain(field, put(gain), self._row_gain, pad)
        if rng_noise is not None:
            noise = rng_noise.standard_normal((*field.shape, 2), np.float32).view(np.complex64)[..., 0]
            field += put(noise) * self._noise[:, None]
        out = xp.empty((len(self.r_mm), self.beam.n_lines), np.complex64)
        kernels.blur_axial(field, self._pulse_there, pad, RANGE_OVERSAMPLING, out)
        return out if self._still is None else out + self._still

    def __call__(self, T_world_image: NDArray, frame_seed: int | tuple[int, ...], warp: Warp | None = None, *,
                 gain_db: float = 0.0, contact: NDArray | float = 1.0) -> NDArray[np.uint8]:
        """B-mode frame uint8 of `geometry.shape`; `frame_seed` is the seed of the thermal noise."""
        noise = np.random.default_rng(frame_seed)
        field = self._baseband(np.asarray(T_world_image, float), noise, warp, contact)
        xp, _, kernels = _backend(self.device)
        return to_host(_bmode(field, self._there, gain_db, xp, kernels))

    def amplitude(self, T_world_image: NDArray, frame_seed: int | tuple[int, ...], warp: Warp | None = None, *,
                  gain_db: float = 0.0, contact: NDArray | float = 1.0) -> NDArray[np.float32]:
        """The same frame before compression: amplitudes [n_r, n_lines] for `shown`."""
        field = self.baseband(T_world_image, np.random.default_rng(frame_seed), warp=warp, contact=contact)
        return np.abs(field) * np.float32(10 ** (gain_db / 20))

    def shown(self, amplitude: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The frame of amplitudes [n_r, n_lines]."""
        return _bmode(amplitude.astype(np.complex64), self._screen, 0.0, np, bmode)


def _backend(device: str):
    """Array module of a device, its kernels of echoes, and those of pictures."""
    return (arrays(device), gpu_scatter, gpu_bmode) if device == "gpu" else (np, scatter, bmode)


def conversion_table(beam: Beam, geometry: ProbeGeometry):
    """Flat pixel indices [P] inside the field of view and their fractional (row, column) of the baseband."""
    r, u = polar_axes(beam, geometry)
    rows, columns = np.nonzero(geometry.mask())
    mm = se3.pixel_points(geometry.scale, columns.astype(np.float64) + 1, rows.astype(np.float64) + 1)
    pixel_r, pixel_u = geometry.polar(mm[:, 0], mm[:, 1])
    row = np.clip((pixel_r - r[0]) / (r[1] - r[0]), 0, len(r) - 1)
    column = np.clip((pixel_u - u[0]) / (u[1] - u[0]), 0, len(u) - 1)
    return rows * geometry.shape[1] + columns, row.astype(np.float32), column.astype(np.float32)


class Screen(NamedTuple):
    """What makes a picture of a baseband: `table` is that of `conversion_table`, `gain` [n_r, n_lines] or None."""

    beam: Beam
    geometry: ProbeGeometry
    picture: Picture
    table: Any
    gain: Any


def screen_of(beam: Beam, geometry: ProbeGeometry, picture: Picture | None = None) -> Screen:
    """The screen of a machine, worked out once for many frames."""
    picture = picture or Picture()
    r, u = polar_axes(beam, geometry)
    gain = picture.gain(len(r), len(u)) if any(picture.tgc_db) or picture.sides_db else None
    return Screen(beam, geometry, picture, conversion_table(beam, geometry), gain)


def to_bmode(baseband: Complex, beam: Beam, geometry: ProbeGeometry, *, gain_db: float = 0.0) -> NDArray[np.uint8]:
    """Log compression (eq. 8) and scan conversion of a baseband [n_r, n_lines] to uint8 `geometry.shape`."""
    return _bmode(baseband, screen_of(beam, geometry), gain_db, np, bmode)


def _bmode(baseband, screen: Screen, gain_db: float, xp, kernels):
    beam, geometry, picture, table, gain = screen
    grey = xp.empty(baseband.shape, np.float32)
    unit = beam.speckle_grey + (beam.gain_db + gain_db) * 255 / beam.dynamic_range_db
    kernels.compress(baseband if gain is None else baseband * gain, unit, beam.grey_per_neper, grey)
    out = xp.zeros(geometry.shape, np.uint8)
    kernels.scan_convert(picture.mapped(grey, xp), *table, out)
    return out


def render(medium: Medium, tissue: Tissue, T_world_image: NDArray, beam: Beam, geometry: ProbeGeometry,
           rng_noise: np.random.Generator | None) -> Complex:
    """Complex baseband [n_r, n_lines] of one frame; for many frames keep a `Renderer`."""
    return Renderer(medium, tissue, beam, geometry).baseband(T_world_image, rng_noise)
