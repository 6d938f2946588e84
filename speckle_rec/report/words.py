"""Figures and what they are called, for people: words instead of names, three digits that count, units."""

import math
from collections.abc import Mapping
from typing import Any

# Endings of names that tell a unit, and how it is written.
UNITS = {"mm": "mm", "deg": "deg", "rad": "rad", "s": "s", "px": "px", "hz": "Hz", "percent": "%"}
WORDS = {"inplane": "in-plane", "rms": "RMS", "est": "estimated", "true": "tracked", "sd": "uncertainty"}
# Names that words alone do not tell enough of: (what it is, unit). "%" takes a share and shows it as such.
LABELS: dict[str, tuple[str, str]] = {
    "scan": ("Scan", ""), "path": ("File", ""), "version": ("Version of speckle-rec", ""),
    "n_frames": ("Frames", ""), "rows": ("Rows of the image", "px"), "columns": ("Columns of the image", "px"),
    "frame_rate_hz": ("Frames a second", "Hz"), "pixel_mm": ("Width and height of a pixel", "mm"),
    "image_calibration": ("Where the size of a pixel comes from", ""),
    "calibration_hash": ("Fingerprint of the speckle calibration", ""),
    "path_length_mm": ("Path of the image's centre", "mm"), "confidence_mean": ("Mean confidence of the steps", ""),
    "device": ("Computed on", ""), "motion": ("Kind of motion", ""), "motion_decided": ("Why that kind", ""),
    "pivot_mm": ("Depth of the point the probe turned about, below its face", "mm"),
    "time_filter": ("Correlation of noise one, two, ... frames apart (averaging of frames)", ""),
    "lost_frames": ("Frames that seem to be missing from the recording", "%"),
    "revisits": ("Pairs of frames that show the same place", ""),
    "parts_exchanged": ("Stretches that were solved again", ""),
    "mirrors_mended": ("Stretches that were mirrored back", ""),
    "outlier_steps_mended": ("Single steps that were mended", ""),
    "orthogonal_similarity": ("Likeness of what crossing planes show (1: the same)", ""),
    "orthogonal_gain": ("Length of the motion, by crossing planes over by speckle", ""),
    "static_share": ("Field of view that never changes (text, grids, haze)", "%"),
    "reading": ("How the probe moved", ""), "other_reading": ("Its mirror image", ""),
    "probe": ("Probe", ""), "curves": ("Decorrelation curves", ""),
    "in_plane_path_mm": ("Path within the image plane", "mm"),
    "roll_range_deg": ("Range of the rotation within the image plane", "deg"),
    "elevational_path_mm": ("Path out of the image plane, at the middle of the field", "mm"),
    "elevational_path_sd_mm": ("Its uncertainty (one standard deviation)", "mm"),
    "cells": ("Parts of the image that were measured", ""),
    "cells_with_signal": ("Of these, with a usable echo", "%"),
    "cells_with_speckle": ("Of these, with speckle that moves", "%"),
    "shape": ("Shape", ""), "scale_percent": ("Uncertainty of the scale out of the plane", "percent"),
    "handedness": ("Which of the two mirror images", ""), "why": ("Why", ""), "found": ("Found", ""),
    "GPE": ("Distance of a pixel from its true place, whole scan (GPE)", "mm"),
    "LPE": ("Distance of a pixel from its true place, step by step (LPE)", "mm"),
    "GLE": ("Distance of a landmark from its true place, whole scan (GLE)", "mm"),
    "LLE": ("Distance of a landmark from its true place, step by step (LLE)", "mm"),
    "final": ("Final score (1: no error, 0: no better than a probe held still)", ""),
    "global": ("Score over the whole scan", ""), "local": ("Score step by step", ""),
    "pixel": ("Score of all pixels", ""), "landmark": ("Score of the landmarks", ""),
    "final_mirror_given": ("Final score with the mirror image given", ""),
    "runtime_s": ("Run time", "s"), "frames_per_s": ("Frames a second", ""),
    "scans": ("Scans", ""), "failed": ("Failed", ""), "landmarks_known": ("Landmarks known", ""),
    "steps": ("Steps of the image's centre", ""),
    "drift_final_mm": ("Distance of the last frame's centre from its true place", "mm"),
    "drift_final_rate": ("That over the length of the path", "%"),
    "drift_mean_mm": ("The distance, mean over all frames", "mm"),
    "drift_max_mm": ("The distance, largest", "mm"),
    "drift_average_rate": ("The distance over the path up to there, mean", "%"),
    "drift_hausdorff_mm": ("Largest distance between the two paths (Hausdorff)", "mm"),
    "drift_volume_overlap": ("Overlap of what both passed through (Dice)", "%"),
    "tracked_path_mm": ("Tracked path of the image's centre", "mm"),
    "ncc": ("Likeness of grey values (normalised cross-correlation)", ""),
    "overlap": ("Overlap of what was seen (Dice)", "%"), "spacing_mm": ("Compared at voxels of", "mm"),
}
LEFT_OUT = ("made_of", "warnings", "verdict", "found", "score", "run_times_s", "volume")


def number(value: Any) -> str:
    """A figure for people: three digits that count."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return "yes" if value is True else "no" if value is False else str(value)
    if not math.isfinite(value):
        return "-"
    rounded = float(f"{value:.3g}")
    return f"{rounded:.0f}" if 1000 <= abs(rounded) < 1e9 else f"{rounded:#.3g}".removesuffix(".")


def words(name: str) -> str:
    """What a figure is called: ``roll_range_deg`` is the roll range [deg]."""
    stem, _, unit = name.rpartition("_")
    stem, unit = (stem, f" [{UNITS[unit]}]") if stem and unit in UNITS else (name, "")
    return " ".join(WORDS.get(word, word) for word in stem.split("_")) + unit


def labelled(name: str, value: Any) -> tuple[str, str]:
    """(what it is, its value with the unit) of a figure by its name."""
    share = False
    if name in LABELS:
        label, unit = LABELS[name]
        unit, share = UNITS.get(unit, unit), unit == "%"
    else:
        stem, _, end = name.rpartition("_")
        label, unit = (words(stem), UNITS[end]) if stem and end in UNITS else (words(name), "")
        label = label[:1].upper() + label[1:]
    return label, shown(value, unit, share=share)


def shown(value: Any, unit: str = "", *, share: bool = False) -> str:
    """A value with its unit; of a list each; a `share` of 0..1 as percent."""
    if isinstance(value, list):
        return ", ".join(number(v) for v in value) + (f" {unit}" if unit else "")
    if share and isinstance(value, float):
        return f"{number(100 * value)} %"
    text = number(value)
    return f"{text} {unit}" if unit and text != "-" else text


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of a summary that have a value, labelled; those of ``numbers`` and other groups among them."""
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            out += rows(value)
        elif value is not None and value != "" and name not in LEFT_OUT:
            out.append(labelled(name, value))
    return out
