"""Worlds: all that is the same for the scans of one machine, one hand and one kind of tissue.

A world is a TOML file that names every setting; it lies beside the scans that were made in it.
"""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..errors import InputError
from .scan import MOTIONS, Conditions, ScanSettings, scan_names
from .tables import from_table, table_of, toml
from .trajectory import SWEEPING_HAND, Hand

FILE_NAME = "world.toml"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class World(Conditions):
    """What scans share.

    Attributes
    ----------
    motion : "rotation"; "L", "C" or "S" for all sweeps of one shape; or a sweep without its hand, as "Per_L_DtP".
    hand : None becomes the usual one of the motion. So do the numbers of the beam that None leaves open.
    """

    motion: str = "rotation"

    def __post_init__(self):
        if self.motion not in MOTIONS:
            raise InputError(f"motion: expected one of {', '.join(MOTIONS)}, found {self.motion!r}")
        if self.hand is None:
            object.__setattr__(self, "hand", Hand() if self.motion == "rotation" else SWEEPING_HAND)
        object.__setattr__(self, "beam", replace(
            self.beam,
            receive_elevation_aperture_mm=self.beam.receive_elevation_aperture_mm or self.beam.aperture_mm,
            receive_elevation_focus_mm=self.beam.receive_elevation_focus_mm or self.beam.focus_mm))

    def settings(self, *, subject: int = 0, seed: int = 0, n_frames: int = 1600, name: str | None = None
                 ) -> ScanSettings:
        """A scan of this world; `name` is the first of its motion unless given."""
        parts = {f.name: getattr(self, f.name) for f in fields(Conditions)}
        return ScanSettings(name=name or scan_names(self.motion)[0], subject=subject, seed=seed, n_frames=n_frames,
                            **parts)

    def text(self) -> str:
        """The world as TOML, complete."""
        return f"# {self.summary}\n" + toml({"motion": self.motion} | table_of(self))

    @property
    def summary(self) -> str:
        """What is special about it, in a line."""
        beam, picture, machine = self.beam, self.picture, self.machine
        filtered = {"none": "no filter", "mean": f"mean of {machine.filter_frames} on {machine.filter_on}",
                    "recursion": f"recursion {machine.filter_share:g} on {machine.filter_on}"}[machine.filter]
        drawn = [name for name in ("text", "ruler", "border") if getattr(picture, name)]
        haze = [f"haze {self.clutter.haze_db:g} dB"] if self.clutter.haze_db > -50 else []
        return ", ".join([self.motion, picture.probe, f"{beam.frequency_hz * 1e-6:.1f} MHz",
                          f"{picture.depth_mm:.0f} mm deep",
                          f"{beam.lens} lens {beam.aperture_mm:g} at {beam.focus_mm:g}", filtered,
                          f"{beam.dynamic_range_db:.0f} dB {picture.grey_map}", *drawn, *haze])

    def write(self, path: Path) -> None:
        """Write the world to a file."""
        Path(path).write_text(self.text(), encoding="utf-8")


def of_settings(settings: ScanSettings, motion: str = "rotation") -> World:
    """The world of a scan."""
    parts = {f.name: getattr(settings, f.name) for f in fields(Conditions) if f.name != "hand"}
    return World(motion=motion, hand=settings.steadiness, **parts)


def parsed(text: str, what: str) -> World:
    """The world of a TOML text; settings that are not there have their defaults.

    Raises
    ------
    InputError
        If it is no TOML, or holds an unknown key or a value of the wrong type.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: expected TOML, {' '.join(str(error).split())[:160]}") from error
    return from_table(World, table, what)


def read(path: Path) -> World:
    """The world of a file."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: expected the TOML file of a world, found a folder")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path}: expected the TOML file of a world, found one of more than {MAX_BYTES} bytes")
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected the TOML file of a world, found no text") from error
    return parsed(text, str(path))
