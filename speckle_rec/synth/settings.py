"""Numbers that tell one tissue, one machine's clutter and one body from another.

The defaults are plain: nothing that is not asked for. Ranges in brackets are those met in real scans.
"""

from dataclasses import dataclass, fields

from ..errors import InputError

OFF_DB = -100.0   # a level that means: none


def check_ranges(settings: object, limits: dict[str, tuple[float, float]]) -> None:
    """Refuse a setting that is outside its limits (both included) or no number."""
    for f in fields(settings):   # type: ignore[arg-type]
        value = getattr(settings, f.name)
        if f.name not in limits or value is None:
            continue
        low, high = limits[f.name]
        if not low <= value <= high:
            raise InputError(f"{f.name}: expected {low:g} to {high:g}, found {value!r}")


@dataclass(frozen=True)
class TissueModel:
    """What the forearm is made of; `coherent_*` hold for the phantom too. Echoes are amplitudes over today's usual.

    Attributes
    ----------
    muscle : float
        Echo of the fascicles [.15-1.2]: dark muscle is .3.
    perimysium, perimysium_mm : float
        Echo of the walls between fascicles [.5-3], and their usual spacing in mm [.6-2.5].
    fat, fat_contrast, fat_lobule_mm : float
        Echo of fat [.5-4]; its septa over its lobules [.1-2]; length of a lobule in mm [2-12].
    fascia, fascia_lobe_deg : float
        Echo of skin, fascia and aponeuroses [.3-3]; angle of incidence at which it has fallen by 1/e in amplitude
        [5-60], 0 for no such fall but that of the sheet's own interference.
    coherent : float
        Share of the intensity that comes from structure finer than the resolution, seen across the arm [0-.6].
    coherent_along_mm, coherent_across_mm : float
        How far it stays alike along the arm [1-20] and across it [0-5].
    """

    muscle: float = 1.0
    perimysium: float = 1.0
    perimysium_mm: float = 1.2
    fat: float = 1.0
    fat_contrast: float = 1.0
    fat_lobule_mm: float = 5.5
    fascia: float = 1.0
    fascia_lobe_deg: float = 0.0
    coherent: float = 0.0
    coherent_along_mm: float = 8.0
    coherent_across_mm: float = 0.0

    def __post_init__(self):
        check_ranges(self, {"muscle": (0, 10), "perimysium": (0, 10), "perimysium_mm": (0.1, 20), "fat": (0, 10),
                            "fat_contrast": (0, 10), "fat_lobule_mm": (0.5, 50), "fascia": (0, 10),
                            "fascia_lobe_deg": (0, 90), "coherent": (0, 0.9), "coherent_along_mm": (0.5, 200),
                            "coherent_across_mm": (0, 200)})


@dataclass(frozen=True)
class Clutter:
    """What is heard and is not there. Levels in dB over standard speckle; -100: none.

    Attributes
    ----------
    haze_db : float
        Haze at the last range [-30 to 5].
    haze_db_cm : float
        Its growth with depth in dB a cm [0-4].
    haze_still : float
        Share of its power that stays with the probe [0-1]; the rest is new in every frame.
    reverberation_db, reverberation_mm, reverberation_fall_db : float
        Lines parallel to the face that stay with the probe: level of the first [-20 to 20], spacing in mm [2-15], and
        by how much each is weaker than the one above it [2-10].
    shadow_edge_mm : float
        Standard deviation across the lines of a shadow's edge [0-4]: an aperture sees round the edge.
    """

    haze_db: float = OFF_DB
    haze_db_cm: float = 1.0
    haze_still: float = 0.5
    reverberation_db: float = OFF_DB
    reverberation_mm: float = 5.0
    reverberation_fall_db: float = 4.0
    shadow_edge_mm: float = 0.0

    def __post_init__(self):
        check_ranges(self, {"haze_db": (OFF_DB, 40), "haze_db_cm": (-10, 10), "haze_still": (0, 1),
                            "reverberation_db": (OFF_DB, 40), "reverberation_mm": (0.5, 200),
                            "reverberation_fall_db": (0, 60), "shadow_edge_mm": (0, 20)})


@dataclass(frozen=True)
class Body:
    """How the body moves under the probe; the defaults keep it still.

    Attributes
    ----------
    follow, follow_frames : float
        Share of the probe's motion (pressure, fan, slide) that the tissue under the face goes along with [0-.8], and
        after how many frames it has come back [20-200]. It fades over 30 mm of depth and to the sides.
    twitches, twitch_mm, twitch_frames : int, float, float
        Slow contractions during the scan [0-4], how far muscle moves by them in mm [.2-2], and how long they take
        [15-60].
    pulse_mm, pulse_frames : float
        How far the artery's wall moves out at each beat in mm [0-.3], and frames from beat to beat [13-24].
    """

    follow: float = 0.0
    follow_frames: float = 60.0
    twitches: int = 0
    twitch_mm: float = 0.8
    twitch_frames: float = 30.0
    pulse_mm: float = 0.0
    pulse_frames: float = 17.0

    def __post_init__(self):
        check_ranges(self, {"follow": (0, 1), "follow_frames": (1, 1e6), "twitches": (0, 1000), "twitch_mm": (0, 5),
                            "twitch_frames": (2, 1e4), "pulse_mm": (0, 2), "pulse_frames": (4, 1e4)})

    @property
    def moves(self) -> bool:
        """Whether anything moves at all."""
        return bool(self.follow or (self.twitches and self.twitch_mm) or self.pulse_mm)
