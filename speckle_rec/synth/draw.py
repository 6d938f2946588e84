"""Worlds drawn from documented ranges: what machines, hands and tissues of practice differ in."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .beam import Beam
from .machine import Machine
from .picture import Picture, fitted
from .trajectory import SWEEPING_HAND, Hand, RotationProtocol
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
    "convex 60": OfProbe(Range(2.8, 4, "MHz"), Range(110, 180, "mm"), Range(10, 14, "mm"), Range(60, 90, "mm"),
                         Range(60, 100, "mm")),
    "convex 15": OfProbe(Range(4.5, 6.5, "MHz"), Range(60, 100, "mm"), Range(6, 9, "mm"), Range(40, 60, "mm"),
                         Range(30, 60, "mm")),
    "linear 38": OfProbe(Range(6, 8.5, "MHz"), Range(50, 65, "mm"), Range(6, 8, "mm"), Range(40, 50, "mm"),
                         Range(15, 35, "mm")),
    "linear 50": OfProbe(Range(5, 7, "MHz"), Range(50, 80, "mm"), Range(6, 9, "mm"), Range(40, 60, "mm"),
                         Range(20, 45, "mm")),
}

SWEEPING = ("Per_L_DtP", "Per_L_PtD", "Per_C_DtP", "Per_S_PtD", "Par_L_PtD", "Par_C_DtP")

# What is drawn for each world, one after another and independently; those of `OfProbe` beside.
DRAWN: dict[str, Range | Choice] = {
    "motion": Choice(("rotation", *SWEEPING), (2, *[1 / len(SWEEPING)] * len(SWEEPING))),
    "probe": Choice(tuple(OF_PROBES), (0.35, 0.15, 0.15, 0.2, 0.15)),
    "frequency": Range(0, 1),
    "depth": Range(0, 1),
    "aperture": Range(0, 1),
    "focus": Range(0, 1),
    "lateral focus": Range(0, 1),
    "bandwidth": Range(0.35, 0.65),
    "lines": Range(96, 256),
    "pixel": Range(0.12, 0.3, "mm", logarithmic=True),
    "pixel height over width": Range(0.94, 1.06),
    "dynamic range": Range(50, 90, "dB"),
    "grey of muscle": Range(75, 125),
    "noise": Range(-12, 12, "dB"),
    "grey map": Choice(("linear", "s-shaped", "gamma"), (0.4, 0.3, 0.3)),
    "strength of an s-shaped map": Range(0.3, 0.9),
    "exponent of a gamma map": Range(0.7, 1.5),
    "slider": Range(-5, 5, "dB"),
    "sides": Range(-6, 6, "dB"),
    "crop of the sides": Choice((0.0, 0.1, 0.2), (0.6, 0.2, 0.2)),
    "levels": Choice((256, 128, 64), (0.6, 0.2, 0.2)),
    "text": Choice((False, True)),
    "ruler": Choice((False, True)),
    "border": Choice((False, True), (0.7, 0.3)),
    "filter": Choice(("none", "mean of 2", "mean of 3", "mean of 4", "recursion"), (0.25, 0.15, 0.15, 0.1, 0.35)),
    "share that a recursion keeps": Range(0.1, 0.7),
    "filter on": Choice(("grey", "amplitude"), (0.6, 0.4)),
    "interval jitter": Range(0, 0.15),
    "duplicates": Choice((0.0, 0.01), (0.7, 0.3)),
    "drops": Choice((0.0, 0.01), (0.7, 0.3)),
    "gain change": Choice((0.0, 3.0), (0.6, 0.4)),
    "tremor": Range(0.03, 0.12, "mm", logarithmic=True),
}


def random_world(seed: int) -> World:
    """A world that the seed draws; each of `DRAWN` from a random stream of its own."""
    return world_at({key: float(np.random.default_rng([seed, *key.encode()]).random()) for key in KEYS}, seed)


KEYS = tuple(DRAWN)


def world_at(u: dict[str, float], seed: int) -> World:
    """The world at given quantiles of `DRAWN`; the seed draws what is left (the sliders)."""
    v = {key: drawn.at(u[key]) for key, drawn in DRAWN.items()}
    of = OF_PROBES[v["probe"]]
    beam = _beam(v, u, of)
    return World(motion=v["motion"], beam=beam, picture=_picture(v, u, of, seed), machine=_machine(v),
                 hand=replace(Hand() if v["motion"] == "rotation" else SWEEPING_HAND, tremor_mm=v["tremor"]),
                 protocol=RotationProtocol(shortest_frames=SHORTEST_FRAMES))


def _beam(v: dict, u: dict, of: OfProbe) -> Beam:
    focus_mm = of.lateral_focus_mm.at(u["lateral focus"])
    return replace(Beam(), frequency_hz=of.frequency_mhz.at(u["frequency"]) * 1e6, bandwidth=v["bandwidth"],
                   aperture_mm=of.aperture_mm.at(u["aperture"]), focus_mm=of.focus_mm.at(u["focus"]),
                   transmit_focus_mm=focus_mm, n_lines=round(v["lines"]), noise_db=v["noise"],
                   dynamic_range_db=v["dynamic range"], speckle_grey=v["grey of muscle"])


def _picture(v: dict, u: dict, of: OfProbe, seed: int) -> Picture:
    pixel_mm = v["pixel"] * max(of.depth_mm.high / 110, 0.6)      # deep pictures have no more pixels than others
    tall = float(f"{pixel_mm * v['pixel height over width']:.4g}")
    rng = np.random.default_rng([seed, *b"sliders"])
    strength = {"linear": 1.0, "s-shaped": v["strength of an s-shaped map"],
                "gamma": v["exponent of a gamma map"]}[v["grey map"]]
    return Picture(**fitted(v["probe"], of.depth_mm.at(u["depth"]), (float(f"{pixel_mm:.4g}"), tall),
                            beside_mm=10.0 if v["text"] else 0.0, crop=v["crop of the sides"]),
                   grey_map=v["grey map"], map_strength=strength,
                   tgc_db=tuple(DRAWN["slider"].at(x) for x in rng.random(8)), sides_db=v["sides"], levels=v["levels"],
                   text=v["text"], ruler=v["ruler"], border=v["border"])


def _machine(v: dict) -> Machine:
    kind, *many = v["filter"].split(" of ")
    return Machine(filter=kind, filter_frames=int(many[0]) if many else 2,
                   filter_share=v["share that a recursion keeps"], filter_on=v["filter on"],
                   interval_jitter=v["interval jitter"], duplicates=v["duplicates"], drops=v["drops"],
                   gain_change_db=v["gain change"], tracker_jitter_mm=0.0)
