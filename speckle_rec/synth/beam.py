"""What one transmit-receive beam does to a point scatterer: pulse, lateral beam, elevational lens.

Equation numbers are those of docs/SIMULATOR.md.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels.scatter import Lens, Probe
from ..probe.field import ProbeGeometry
from .aperture_kernels import one_way

Array = NDArray[np.float64]

# 1/e amplitude radius, over the aperture, of the Gaussian aperture whose two-way width at the focus
# (-6 dB) is that of a uniform aperture: sinc^2(x) = 1/2 at x = 1.3916.
GAUSSIAN_APERTURE = np.sqrt(np.log(2) / 2) / 1.3916
NEAREST_FOCUS_MM = 4.0   # dynamic receive focusing starts here
LENS_ENERGY = {"gaussian": 0.9998, "soft": 0.998, "hard": 0.998}   # part of the two-way energy that is rendered
LENS_STEP_R_MM = 0.25
LENS_STEP_Z_MM = 0.04
ELEMENTS_A_WAVELENGTH = 5   # of the integral over an aperture
OVERLAP_HALF_MM, OVERLAP_STEP_MM = 15.0, 0.02
LENSES = tuple(LENS_ENERGY)


@dataclass(frozen=True)
class Beam:
    """Acoustics and receiver of a scan; the defaults are near a 4DC7-3/40 at 6 MHz.

    The lens in elevation is `aperture_mm` [6-14] wide and focused at `focus_mm` [40-90]. `lens` is its apodisation:
    "hard" (all of the aperture alike), "soft" (raised-cosine edges over the share `edge` of each half) or "gaussian"
    (closed form). Reception has the lens of transmission but for what the fields `receive_elevation_*` say.
    """

    frequency_hz: float = 6e6
    speed_m_s: float = 1540.0
    bandwidth: float = 0.45             # two-way -6 dB width over the frequency
    aperture_mm: float = 10.0           # elevational
    focus_mm: float = 60.0              # elevational, geometric
    lens: str = "hard"
    edge: float = 0.5                   # of the soft lens [.1-1]
    receive_elevation_aperture_mm: float | None = None   # None: as transmit
    receive_elevation_focus_mm: float | None = None
    receive_f_number: float = 2.5       # lateral, dynamic focus
    receive_aperture_mm: float = 24.0   # at most
    transmit_f_number: float = 4.0
    transmit_focus_mm: float = 50.0
    n_lines: int = 256
    tgc_db_cm_mhz: float = 0.5          # one way; the attenuation that time gain compensates
    noise_db: float = -8.0              # thermal noise over standard speckle at the last range, after TGC
    dynamic_range_db: float = 83.0      # over 0..255
    speckle_grey: float = 100.0         # grey level of the rms of standard speckle
    gain_db: float = 0.0

    def __post_init__(self):
        if self.lens not in LENSES:
            raise InputError(f"lens: expected one of {', '.join(LENSES)}, found {self.lens!r}")
        for name, least, most in (("edge", 0.0, 1.0), ("aperture_mm", 0.5, 60.0), ("focus_mm", 2.0, 1e5),
                                  ("receive_elevation_aperture_mm", 0.5, 60.0),
                                  ("receive_elevation_focus_mm", 2.0, 1e5)):
            value = getattr(self, name)
            if value is not None and not (least <= value <= most and value > 0):
                raise InputError(f"{name}: expected more than 0, from {least:g} to {most:g}, found {value!r}")

    @property
    def elevation(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(aperture, focus) in mm in elevation: of transmission, and of reception."""
        return (self.aperture_mm, self.focus_mm), (
            self.aperture_mm if self.receive_elevation_aperture_mm is None else self.receive_elevation_aperture_mm,
            self.focus_mm if self.receive_elevation_focus_mm is None else self.receive_elevation_focus_mm)

    @property
    def wavelength_mm(self) -> float:
        return self.speed_m_s / self.frequency_hz * 1e3

    @property
    def wave_number(self) -> float:
        """k in rad/mm."""
        return 2 * np.pi / self.wavelength_mm

    @property
    def grey_per_neper(self) -> float:
        """Grey levels per unit of ln A: 26.7 at 83 dB over 0..255 (eq. 8)."""
        return 255 / self.dynamic_range_db * 20 / np.log(10)

    @property
    def pulse_sd_mm(self) -> float:
        """Standard deviation in range of the Gaussian amplitude envelope of the pulse (eq. 5)."""
        sd_hz = self.bandwidth * self.frequency_hz / np.sqrt(8 * np.log(2))
        return self.speed_m_s * 1e3 / (4 * np.pi * sd_hz)


def _focused(r, k: float, aperture_mm, focus_mm) -> NDArray[np.complex128]:
    """Complex beam parameter q of a Gaussian aperture with a lens, r mm in front of it (eq. 1).

    The field varies as exp(i k z^2 / 2q); 1/q = 1/R + 2i / (k w^2).
    Source: Siegman, Lasers (1986), ch. 16-17.
    """
    return 1 / (-1 / focus_mm + 2j / (k * (GAUSSIAN_APERTURE * aperture_mm) ** 2)) + r


def _inverse_q(beam: Beam, r) -> NDArray[np.complex128]:
    """1/q of the Gaussian lens, the mean of transmission and reception: the two-way field is exp(i k z^2 / q)."""
    ways = [1 / _focused(np.asarray(r, float), beam.wave_number, *way) for way in beam.elevation]
    return (ways[0] + ways[1]) / 2


def elevation_width(beam: Beam, r) -> Array:
    """w(r) of the Gaussian lens: the two-way amplitude is exp(-2 z^2 / w^2), of standard deviation w/2 (mm)."""
    return np.sqrt(2 / (beam.wave_number * np.imag(_inverse_q(beam, r))))


def elevation_curvature(beam: Beam, r) -> Array:
    """1/R(r) of the Gaussian lens's wavefront in elevation (1/mm), negative in front of the waist."""
    return np.real(_inverse_q(beam, r))


def elevation_waist(beam: Beam) -> tuple[float, float]:
    """(w0, depth of the waist) in mm of the Gaussian lens; the waist lies before the geometric focus."""
    q = complex(1 / _inverse_q(beam, 0.0))
    # q = (r - waist) - i k w0^2 / 2
    return float(np.sqrt(2 * abs(q.imag) / beam.wave_number)), -q.real


def log_decorrelation(beam: Beam, r, offset_mm, turn_rad) -> Array:
    """-ln rho_I of speckle at range r whose image plane moved by `offset_mm` there and turned by `turn_rad`.

    Eq. 4: 2 d^2 / w^2 + k^2 w^2 (theta - d/R)^2 / 2. For a shift tau at the face and a tilt theta about it
    the offset is tau + theta r; it is exact for the Gaussian lens and a narrow band. For another lens see `overlap`.
    """
    w2 = elevation_width(beam, r) ** 2
    bend = turn_rad - offset_mm * elevation_curvature(beam, r)
    return 2 * offset_mm**2 / w2 + beam.wave_number**2 * w2 * bend**2 / 2


def apodisation(beam: Beam, y: Array) -> Array:
    """Weight of the elements at `y`, from -1 to 1 over the aperture, of the hard and the soft lens."""
    if beam.lens == "hard":
        return np.ones_like(y)
    return np.sin(np.pi / 2 * np.clip((1 - np.abs(y)) / beam.edge, 0, 1)) ** 2


def _one_way(beam: Beam, way: tuple[float, float], r: Array, z: Array) -> NDArray[np.complex128]:
    """One-way field [L, Z], less its axial phase, of an aperture with a lens: the integral (eq. 6)."""
    k, (aperture, focus) = beam.wave_number, way
    n = int(np.ceil(aperture / beam.wavelength_mm * ELEMENTS_A_WAVELENGTH))
    y = (np.arange(n) + 0.5) / n * 2 - 1
    weight, element = apodisation(beam, y), y * aperture / 2
    delay = np.hypot(element, focus) - focus
    field = np.empty((len(r), len(z)), complex)
    one_way(np.maximum(r, 1.0), z, element, delay, weight / weight.sum(), k, field)
    return field


def two_way(beam: Beam, r: Array, z: Array) -> NDArray[np.complex128]:
    """Two-way elevational profile h [L, Z] at ranges r [L] and elevations z [Z]: (eq. 3) or the square of (eq. 6)."""
    r, z = np.asarray(r, float), np.asarray(z, float)
    if beam.lens == "gaussian":
        return np.exp(-1j * beam.wave_number * np.conj(_inverse_q(beam, r))[:, None] * z**2)
    transmit = _one_way(beam, beam.elevation[0], r, z)
    same = beam.elevation[1] == beam.elevation[0]
    return np.conj(transmit * (transmit if same else _one_way(beam, beam.elevation[1], r, z)))


def overlap(beam: Beam, r: float, offset_mm, turn_rad) -> Array:
    """rho_I [...] of speckle at range r whose plane moved by offsets and turned, for any lens (eq. 4a, narrow band)."""
    z = np.arange(-OVERLAP_HALF_MM, OVERLAP_HALF_MM + OVERLAP_STEP_MM / 2, OVERLAP_STEP_MM)
    h = two_way(beam, np.array([r]), z)[0]
    offset, turn = np.broadcast_arrays(np.asarray(offset_mm, float), np.asarray(turn_rad, float))
    out = np.empty(offset.shape)
    for at in np.ndindex(offset.shape):
        there = np.interp(z - offset[at], z, h.real) + 1j * np.interp(z - offset[at], z, h.imag)
        out[at] = np.abs(np.sum(h * np.conj(there) * np.exp(2j * beam.wave_number * turn[at] * z))) ** 2
    return out / np.sum(np.abs(h) ** 2) ** 2


def probe_of(geometry: ProbeGeometry) -> Probe:
    """A probe as kernels take it."""
    x, y = geometry.apex_mm
    return Probe(float(x), float(y), float(geometry.radius_mm), geometry.kind == "linear")


def lens_table(beam: Beam, geometry: ProbeGeometry) -> tuple[Lens, Array]:
    """Two-way elevational profile over range and |z| without its wavefront curvature (eq. 3).

    Returns
    -------
    lens : Lens
        Its `reach` holds `LENS_ENERGY` of the energy: side lobes below some -25 dB of it are left out.
    power : float64 [L]
        Integral of |profile|^2 over z, mm.
    """
    return _lens_table(beam, *map(float, geometry.depth_mm))


@lru_cache(maxsize=8)
def _lens_table(beam: Beam, shallowest: float, deepest: float) -> tuple[Lens, Array]:
    r0 = max(shallowest - 2.0, 0.0)
    r = np.arange(r0, deepest + 2.0, LENS_STEP_R_MM)
    z = np.arange(0, max(way[0] for way in beam.elevation) + LENS_STEP_Z_MM, LENS_STEP_Z_MM)
    profile = two_way(beam, r, z)
    curvature = elevation_curvature(beam, r) if beam.lens == "gaussian" else _curvature(beam, profile, z)
    profile = profile * np.exp(1j * beam.wave_number * z**2 * curvature[:, None])
    energy = np.cumsum(np.abs(profile) ** 2, 1)
    reach = z[np.argmax(energy >= LENS_ENERGY[beam.lens] * energy[:, -1:], 1)]
    power = (2 * energy[:, -1] - np.abs(profile[:, 0]) ** 2) * LENS_STEP_Z_MM
    reach = reach.astype(np.float32)
    return Lens(profile.astype(np.complex64), curvature.astype(np.float32), reach, float(reach.max()), float(r0),
                LENS_STEP_R_MM, LENS_STEP_Z_MM, 2 / beam.wavelength_mm), power


def _curvature(beam: Beam, profile: NDArray[np.complex128], z: Array) -> Array:
    """1/R [L] of the parabola nearest to the wavefront: least squares of its slope, weighted by energy."""
    slope = np.imag(np.conj(profile) * np.gradient(profile, z, axis=1))     # |h|^2 times the slope of the phase
    return -(slope @ z) / (2 * beam.wave_number * (np.abs(profile) ** 2 @ z**2))


def lateral_exponent(beam: Beam, geometry: ProbeGeometry, r) -> NDArray[np.complex128]:
    """a(r) of the two-way lateral profile exp(-a x^2), x mm across the line (eq. 7).

    Fixed transmit focus, receive focus that follows the echo; the imaginary part is the wavefront's curvature
    beyond that of the arcs of constant range, which the deposit already has.
    """
    k = beam.wave_number
    r = np.maximum(np.asarray(r, float), NEAREST_FOCUS_MM)
    aperture = np.minimum(r / beam.receive_f_number, beam.receive_aperture_mm)
    receive = 2 * r / (k * GAUSSIAN_APERTURE * aperture)
    transmit = 1 / _focused(r, k, beam.transmit_focus_mm / beam.transmit_f_number, beam.transmit_focus_mm)
    arc = 0.0 if geometry.kind == "linear" else 1 / (r + geometry.radius_mm)
    return 1 / receive**2 + k * transmit.imag / 2 + 0.5j * k * (1 / r + transmit.real - 2 * arc)
