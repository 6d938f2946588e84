"""Worlds drawn from documented ranges: what machines, hands and tissues of practice differ in."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .beam import Beam
from .machine import Machine
from .picture import Picture, fitted
from .settings import Body, Clutter, TissueModel
from .trajectory import SWEEPING_HAND, Hand, RotationProtocol, SweepProtocol
from .world import World

SHORTEST_FRAMES = 600     # rotations of this many frames go through their full angles


@dataclass(frozen=True)
class Range:
    """A number that is uniform, or uniform in its logarithm."""

    low: float
    high: float
    unit: str = ""
    logarithmic: bool = False

    def at(self, u: float) -> float:
        """The value at quantile `u`, to three digits."""
        low, high = (np.log((self.low, self.high)) if self.logarithmic else (self.low, self.high))
        value = low + (high - low) * u
        return float(f"{np.exp(value) if self.logarithmic else value:.3g}")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' ' if self.unit else ''}{self.unit}" + (
            ", uniform in its logarithm" if self.logarithmic else "")


@dataclass(frozen=True)
class Choice:
    """One of several values, each as often as its weight says."""

    values: tuple[Any, ...]
    weights: tuple[float, ...] = ()

    def at(self, u: float) -> Any:
        """The value at quantile `u`."""
        weights = np.array(self.weights or (1.0,) * len(self.values))
        return self.values[min(int(np.searchsorted(np.cumsum(weights) / weights.sum(), u, "right")),
                               len(self.values) - 1)]

    def __str__(self) -> str:
        if not self.weights:
            return ", ".join(map(str, self.values))
        return ", ".join(f"{value} ({weight / sum(self.weights):.0%})"
                         for value, weight in zip(self.values, self.weights, strict=True))


@dataclass(frozen=True)
class OfProbe:
    """What goes with a probe."""

    frequency_mhz: Range
    depth_mm: Range
    aperture_mm: Range
    focus_mm: Range
    lateral_focus_mm: Range


OF_PROBES = {
    "convex 40": OfProbe(Range(4.5, 6.5, "MHz"), Range(70, 110, "mm"), Range(8, 13, "mm"), Range(45, 75, "mm"),
                         Range(35, 65, "mm")),
    "convex 60": OfProbe(Range(2.8, 4, "MHz"), Range(90, 180, "mm"), Range(10, 14, "mm"), Range(60, 90, "mm"),
                         Range(50, 90, "mm")),
    "convex 15": OfProbe(Range(4.5, 6.5, "MHz"), Range(60, 90, "mm"), Range(6, 9, "mm"), Range(40, 60, "mm"),
                         Range(30, 60, "mm")),
    "linear 38": OfProbe(Range(6, 8.5, "MHz"), Range(50, 65, "mm"), Range(6, 8, "mm"), Range(40, 50, "mm"),
                         Range(15, 35, "mm")),
    "linear 50": OfProbe(Range(5, 7, "MHz"), Range(50, 80, "mm"), Range(6, 9, "mm"), Range(40, 60, "mm"),
                         Range(20, 45, "mm")),
}

SWEEPING = ("Per_L_DtP", "Per_L_PtD", "Per_C_DtP", "Per_S_PtD", "Par_L_PtD", "Par_C_DtP")
DECIBEL = "dB"

# What is drawn for each world, one after another and independently. Those of 0 to 1 without a unit of their own are a
# place within the probe's range (`OF_PROBES`).
DRAWN: dict[str, Range | Choice] = {
    "motion": Choice(("rotation", *SWEEPING), (2, *[1 / len(SWEEPING)] * len(SWEEPING))),
    "probe": Choice(tuple(OF_PROBES), (0.35, 0.15, 0.15, 0.2, 0.15)),
    "frequency": Range(0, 1),
    "depth": Range(0, 1),
    # Lens
    "lens": Choice(("hard", "soft", "gaussian"), (0.5, 0.3, 0.2)),
    "edge of a soft lens": Range(0.2, 1),
    "aperture": Range(0, 1),
    "focus": Range(0, 1),
    "aperture of reception over that of transmission": Choice((1.0, 0.8), (0.7, 0.3)),
    "lateral focus": Range(0, 1),
    "bandwidth": Range(0.3, 0.65),
    "receive f-number": Range(2, 5),
    "receive aperture": Range(8, 24, "mm"),
    # Picture
    "lines": Range(96, 256),
    "width of a pixel": Range(0.1, 0.3, "mm", logarithmic=True),
    "height of a pixel over its width": Range(0.94, 1.06),
    "dynamic range": Range(50, 90, DECIBEL),
    "grey level of standard speckle": Range(45, 120),
    "thermal noise": Range(-25, 5, DECIBEL),
    "grey map": Choice(("linear", "s-shaped", "gamma"), (0.4, 0.3, 0.3)),
    "strength of an s-shaped map": Range(0.3, 0.9),
    "exponent of a gamma map": Range(0.7, 1.5),
    "attenuation that the gain makes up for": Range(0.25, 0.5, "dB/cm/MHz"),
    "a slider of the gain": Range(-4, 4, DECIBEL),
    "right side over left": Range(-5, 5, DECIBEL),
    "share cut off at the sides": Choice((0.0, 0.1, 0.2), (0.6, 0.2, 0.2)),
    "grey levels": Choice((256, 128, 64), (0.6, 0.2, 0.2)),
    "text": Choice((False, True)),
    "ruler": Choice((False, True)),
    "border": Choice((False, True), (0.7, 0.3)),
    # Time
    "filter": Choice(("none", "mean of 2", "mean of 3", "mean of 4", "recursion"), (0.25, 0.15, 0.15, 0.1, 0.35)),
    "share that a recursion keeps": Range(0.1, 0.7),
    "what is filtered": Choice(("grey", "amplitude"), (0.6, 0.4)),
    "jitter of the interval": Range(0, 0.15),
    "share of duplicates": Choice((0.0, 0.01), (0.7, 0.3)),
    "share of lost frames": Choice((0.0, 0.01), (0.7, 0.3)),
    "turns of the gain": Choice((0.0, 3.0), (0.6, 0.4)),
    # Tissue
    "scatterers in a cell": Range(2, 20, logarithmic=True),
    "echo of muscle": Range(0.25, 1.1, logarithmic=True),
    "echo of the walls of fascicles": Range(0.7, 2.5, logarithmic=True),
    "distance of these walls": Range(0.8, 2, "mm"),
    "echo of fat": Range(0.7, 3, logarithmic=True),
    "septa of fat over lobules": Range(0.3, 1.5),
    "length of a lobule": Range(3, 10, "mm"),
    "echo of fascia": Range(0.6, 2.5, logarithmic=True),
    "lobe of fascia": Choice((0.0, 10.0, 20.0, 40.0)),
    "coherent share": Range(0, 0.5),
    "its length along the arm": Range(2, 20, "mm", logarithmic=True),
    "its length across the arm": Range(0, 4, "mm"),
    # Clutter
    "haze at the last range": Choice((-100.0, -24.0, -18.0, -12.0, -6.0)),
    "growth of haze": Range(1, 3, "dB/cm"),
    "share of haze that stays": Range(0, 1),
    "reverberation": Choice((-100.0, -12.0, -4.0, 4.0)),
    "spacing of reverberation": Range(3, 12, "mm"),
    "fall of reverberation": Range(3, 8, DECIBEL),
    "soft edge of shadows": Range(0.2, 3, "mm"),
    # Hand and body
    "tremor": Range(0.03, 0.12, "mm", logarithmic=True),
    "slides": Choice((0, 1, 2), (0.6, 0.25, 0.15)),
    "lift-offs": Choice((0, 1, 2), (0.6, 0.2, 0.2)),
    "tissue goes along by": Range(0, 0.6),
    "and comes back after": Range(20, 200, "frames", logarithmic=True),
    "twitches": Choice((0, 1, 2), (0.5, 0.3, 0.2)),
    "length of a twitch": Range(0.2, 1.5, "mm"),
    "arterial pulse": Range(0, 0.25, "mm"),
    "amplitude of fans": Range(20, 28, "deg"),
    "amplitude of rocks": Range(11, 18, "deg"),
    "step of a sweep": Range(0.1, 1.5, "mm", logarithmic=True),
    "revisits of a sweep": Choice((0, 1, 2), (0.5, 0.25, 0.25)),
}
CELL_MM3 = 0.28           # of the default beam where it is narrowest, at 6 MHz
DENSEST = 50.0            # scatterers in a mm^3, for the sake of time


def random_world(seed: int) -> World:
    """A world that the seed draws; each of `DRAWN` from a random stream of its own."""
    return world_at({key: float(np.random.default_rng([seed, *key.encode()]).random()) for key in DRAWN}, seed)


def table() -> str:
    """What is drawn, as a Markdown table."""
    rows = [f"| {key} | {drawn} |" for key, drawn in DRAWN.items() if str(drawn) != str(Range(0, 1))]
    probes = [f"| {name} | " + " | ".join(f"{r.low:g}-{r.high:g}" for r in vars(of).values()) + " |"
              for name, of in OF_PROBES.items()]
    return "\n".join(["| drawn | from |", "|---|---|", *rows, "",
                      "| probe | MHz | depth, mm | aperture, mm | focus, mm | lateral focus, mm |",
                      "|---|---|---|---|---|---|", *probes])


def world_at(u: dict[str, float], seed: int) -> World:
    """The world at given quantiles of `DRAWN`; the seed draws what is left (the sliders)."""
    v: dict[str, Any] = {key: drawn.at(u[key]) for key, drawn in DRAWN.items()}
    of = OF_PROBES[v["probe"]]
    v |= {"frequency": of.frequency_mhz.at(u["frequency"]), "depth": of.depth_mm.at(u["depth"]),
          "aperture": of.aperture_mm.at(u["aperture"]), "focus": of.focus_mm.at(u["focus"]),
          "lateral focus": of.lateral_focus_mm.at(u["lateral focus"])}
    rng = np.random.default_rng([seed, *b"sliders"])
    sliders = tuple(DRAWN["a slider of the gain"].at(x) for x in rng.random(8))
    cell_mm3 = CELL_MM3 * (6 / v["frequency"]) ** 3
    density = min(v["scatterers in a cell"] / cell_mm3, DENSEST)
    still = Hand() if v["motion"] == "rotation" else SWEEPING_HAND
    return World(motion=v["motion"], density_per_mm3=float(f"{density:.3g}"), beam=_beam(v),
                 picture=_picture(v, sliders), machine=_machine(v),
                 hand=replace(still, tremor_mm=v["tremor"], slides=v["slides"]),
                 protocol=_protocol(v), sweep=SweepProtocol(step_mm=v["step of a sweep"],
                                                            revisits=v["revisits of a sweep"]),
                 tissue_model=_tissue(v), clutter=_clutter(v), body=_body(v))


def _beam(v: dict) -> Beam:
    return Beam(frequency_hz=v["frequency"] * 1e6, bandwidth=v["bandwidth"], lens=v["lens"],
                edge=v["edge of a soft lens"], aperture_mm=v["aperture"], focus_mm=v["focus"],
                receive_elevation_aperture_mm=round(
                    v["aperture"] * v["aperture of reception over that of transmission"], 3),
                receive_elevation_focus_mm=v["focus"], transmit_focus_mm=v["lateral focus"],
                receive_f_number=v["receive f-number"], receive_aperture_mm=v["receive aperture"],
                tgc_db_cm_mhz=v["attenuation that the gain makes up for"], n_lines=round(v["lines"]),
                noise_db=v["thermal noise"], dynamic_range_db=v["dynamic range"],
                speckle_grey=v["grey level of standard speckle"])


def _picture(v: dict, sliders: tuple[float, ...]) -> Picture:
    pixel_mm = v["width of a pixel"] * max(v["depth"] / 100, 0.7)      # a deep picture has no more pixels than others
    tall_mm = pixel_mm * v["height of a pixel over its width"]
    strength = {"linear": 1.0, "s-shaped": v["strength of an s-shaped map"],
                "gamma": v["exponent of a gamma map"]}[v["grey map"]]
    return Picture(**fitted(v["probe"], v["depth"], (float(f"{pixel_mm:.4g}"), float(f"{tall_mm:.4g}")),
                            beside_mm=10.0 if v["text"] else 0.0, crop=v["share cut off at the sides"]),
                   grey_map=v["grey map"], map_strength=strength, tgc_db=sliders, sides_db=v["right side over left"],
                   levels=v["grey levels"], text=v["text"], ruler=v["ruler"], border=v["border"])


def _machine(v: dict) -> Machine:
    kind, *many = v["filter"].split(" of ")
    return Machine(filter=kind, filter_frames=int(many[0]) if many else 2,
                   filter_share=v["share that a recursion keeps"], filter_on=v["what is filtered"],
                   interval_jitter=v["jitter of the interval"], duplicates=v["share of duplicates"],
                   drops=v["share of lost frames"], gain_change_db=v["turns of the gain"], lift_offs=v["lift-offs"])


def _protocol(v: dict) -> RotationProtocol:
    shallower = min(1.0, 100 / v["depth"])      # a deep picture is fanned more gently: the same speeds in mm
    return RotationProtocol(fan_deg=(round(v["amplitude of fans"] * shallower, 2), 2.0),
                            rock_deg=(round(v["amplitude of rocks"] * shallower, 2), 1.5),
                            shortest_frames=SHORTEST_FRAMES)


def _tissue(v: dict) -> TissueModel:
    return TissueModel(muscle=v["echo of muscle"], perimysium=v["echo of the walls of fascicles"],
                       perimysium_mm=v["distance of these walls"], fat=v["echo of fat"],
                       fat_contrast=v["septa of fat over lobules"], fat_lobule_mm=v["length of a lobule"],
                       fascia=v["echo of fascia"], fascia_lobe_deg=v["lobe of fascia"], coherent=v["coherent share"],
                       coherent_along_mm=v["its length along the arm"],
                       coherent_across_mm=v["its length across the arm"])


def _clutter(v: dict) -> Clutter:
    return Clutter(haze_db=v["haze at the last range"], haze_db_cm=v["growth of haze"],
                   haze_still=v["share of haze that stays"], reverberation_db=v["reverberation"],
                   reverberation_mm=v["spacing of reverberation"], reverberation_fall_db=v["fall of reverberation"],
                   shadow_edge_mm=v["soft edge of shadows"])


def _body(v: dict) -> Body:
    return Body(follow=v["tissue goes along by"], follow_frames=v["and comes back after"], twitches=v["twitches"],
                twitch_mm=v["length of a twitch"], pulse_mm=v["arterial pulse"])
