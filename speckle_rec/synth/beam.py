"""What one transmit-receive beam does to a point scatterer: pulse, lateral beam, elevational lens.

Equation numbers are those of docs/SIMULATOR.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.scatter import Lens, Probe
from ..probe.field import ProbeGeometry

Array = NDArray[np.float64]

# 1/e amplitude radius, over the aperture, of the Gaussian aperture whose two-way width at the focus
# (-6 dB) is that of a uniform aperture: sinc^2(x) = 1/2 at x = 1.3916.
GAUSSIAN_APERTURE = np.sqrt(np.log(2) / 2) / 1.3916
NEAREST_FOCUS_MM = 4.0   # dynamic receive focusing starts here
LENS_ENERGY = 0.9998     # part of the two-way elevational energy that is rendered
LENS_STEP_R_MM = 0.25
LENS_STEP_Z_MM = 0.04


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


def elevation_width(beam: Beam, r) -> Array:
    """w(r): 1/e radius (mm) of the one-way elevational amplitude; s = w/2 is the sd of the two-way one."""
    return np.sqrt(2 / (beam.wave_number * np.imag(1 / _focused(np.asarray(r, float), beam.wave_number,
                                                                beam.aperture_mm, beam.focus_mm))))


def elevation_curvature(beam: Beam, r) -> Array:
    """1/R(r) of the elevational wavefront (1/mm), negative in front of the waist."""
    return np.real(1 / _focused(np.asarray(r, float), beam.wave_number, beam.aperture_mm, beam.focus_mm))


def elevation_waist(beam: Beam) -> tuple[float, float]:
    """(w0, depth of the waist) in mm; the waist lies before the geometric focus."""
    q = complex(_focused(0.0, beam.wave_number, beam.aperture_mm, beam.focus_mm))
    # q = (r - waist) - i k w0^2 / 2
    return float(np.sqrt(2 * abs(q.imag) / beam.wave_number)), -q.real


def log_decorrelation(beam: Beam, r, offset_mm, turn_rad) -> Array:
    """-ln rho_I of speckle at range r whose image plane moved by `offset_mm` there and turned by `turn_rad`.

    Eq. 4: 2 d^2 / w^2 + k^2 w^2 (theta - d/R)^2 / 2. For a shift tau at the face and a tilt theta about it
    the offset is tau + theta r; it is exact for the Gaussian lens and a narrow band.
    """
    w2 = elevation_width(beam, r) ** 2
    bend = turn_rad - offset_mm * elevation_curvature(beam, r)
    return 2 * offset_mm**2 / w2 + beam.wave_number**2 * w2 * bend**2 / 2


def _uniform_lens(beam: Beam, r: Array, z: Array) -> NDArray[np.complex128]:
    """One-way field [L, Z], less its axial phase, of a uniform aperture with a lens: the integral (eq. 6)."""
    k = beam.wave_number
    n = int(np.ceil(beam.aperture_mm / beam.wavelength_mm * 6))
    element = (np.arange(n) + 0.5) / n * beam.aperture_mm - beam.aperture_mm / 2
    delay = np.hypot(element, beam.focus_mm) - beam.focus_mm
    field = np.empty((len(r), len(z)), complex)
    for i, ri in enumerate(np.maximum(r, 1.0)):
        path = np.hypot(ri, z[:, None] - element) - ri
        field[i] = np.exp(1j * k * (path - delay)).mean(1)
    return field


def probe_of(geometry: ProbeGeometry) -> Probe:
    """A probe as kernels take it."""
    x, y = geometry.apex_mm
    return Probe(float(x), float(y), float(geometry.radius_mm), geometry.kind == "linear")


def lens_table(beam: Beam, geometry: ProbeGeometry) -> tuple[Lens, Array]:
    """Two-way elevational profile over range and |z| without its wavefront curvature (eq. 3).

    Returns
    -------
    lens : Lens
        Its `reach` holds `LENS_ENERGY` of the energy.
    power : float64 [L]
        Integral of |profile|^2 over z, mm.
    """
    r0 = max(geometry.depth_mm[0] - 2.0, 0.0)
    r = np.arange(r0, geometry.depth_mm[1] + 2.0, LENS_STEP_R_MM)
    z = np.arange(0, beam.aperture_mm + LENS_STEP_Z_MM, LENS_STEP_Z_MM)
    curvature = elevation_curvature(beam, r)
    if beam.lens == "gaussian":
        profile = np.exp(-2 * (z / elevation_width(beam, r)[:, None]) ** 2).astype(complex)
    elif beam.lens == "uniform":
        profile = np.conj(_uniform_lens(beam, r, z) ** 2)
        profile *= np.exp(1j * beam.wave_number * z**2 * curvature[:, None])
    else:
        raise ValueError(f'lens: expected "gaussian" or "uniform", found {beam.lens!r}')
    energy = np.cumsum(np.abs(profile) ** 2, 1)
    reach = z[np.argmax(energy >= LENS_ENERGY * energy[:, -1:], 1)]
    power = (2 * energy[:, -1] - np.abs(profile[:, 0]) ** 2) * LENS_STEP_Z_MM
    reach = reach.astype(np.float32)
    return Lens(profile.astype(np.complex64), curvature.astype(np.float32), reach, float(reach.max()), float(r0),
                LENS_STEP_R_MM, LENS_STEP_Z_MM, 2 / beam.wavelength_mm), power


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
