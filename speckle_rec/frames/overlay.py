"""What never moves is no tissue: text, rulers, rings and boxes that a screen or the probe adds to every picture.

They match and correlate perfectly at every distance and would be taken for a probe at rest. A pixel is static if its
grey level stays as it is over the whole scan while tissue elsewhere changes, and if something ends there: noise, shadow
and tissue that is white in every frame keep their level too, but fade into what is about them.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..io.source import sampled_pairs
from ..probe.field import Found, ProbeGeometry, cells
from ..scan import Scan
from .features import LocalMean

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Frames = NDArray[np.uint8]

SAMPLES = 40            # frames, each with the one after it
FEWEST = 16             # of them, from which a pixel can be called static
LIT = 30                # grey levels that a pixel that shows something reaches at some time
FLICKER = 4.0           # grey levels by which anything flickers that a codec has passed through
STEADY_SHARE = 0.2      # of the change of tissue: what changes by less does not change ...
STEADY = (2.0, 12.0)    # ... and grey levels that are steady, and unsteady, whatever tissue does
PATCH_PX = 16           # edge of a patch whose change is looked at as one
CONTINUES = 0.8         # change from a frame to the next over that of frames far apart: noise changes by as much, 1
MOVING = 0.05           # share of the lit pixels that must move for the others to be static
STEP = 20.0             # grey levels by which the mean picture changes within two pixels where something is drawn ...
CUT_OFF, STEP_CUT_OFF = (5.0, 250.0), 50.0      # ... at levels beside black and white, and at those: tissue is cut off
BOUNDED = 0.6           # share of the rim of a plain area that is drawn
AROUND_PX = 9.0         # of the mean that a pixel stands out of ...
STANDS_OUT, FLICKERS = 40.0, 6.0    # ... by so many grey levels, and by so many times what it flickers (rms): tissue .5
CALM = 0.75, 0.6        # of the flicker of tissue: what is drawn behind a codec flickers less, and less yet in a part
DARK, RIM_MM = 20.0, 2.0    # dark pixels so near to the edge of the field are what lies outside
SPECK_PX = 3            # fewer pixels than these are chance
NOTABLE = 0.01          # share of the field from which a user is told
LEAST_CELLS = 0.1       # of the field of view that must be left


def samples(scan: Scan, n: int = SAMPLES) -> tuple[Frames, Frames]:
    """Up to `n` frames spread over a scan, and the frame after each: uint8 [n, rows, columns] twice."""
    return sampled_pairs(scan.source, n)


def taken_out(scan: Scan, found: Found) -> tuple[Found, float]:
    """A field of view without what never moves, and the share of it that never does."""
    mask = still(*samples(scan), found.geometry)
    share = float(mask.sum() / max(found.geometry.field().sum(), 1))
    return replace(found, geometry=without(found.geometry, mask)), share


def still(frames: Frames, following: Frames, geometry: ProbeGeometry) -> Mask:
    """Pixels [rows, columns] of the field of view that never change; none where all are at rest, or nothing tells.

    Parameters
    ----------
    frames, following : see `samples`.
    """
    field, none = geometry.mask(), np.zeros(geometry.shape, bool)
    if len(frames) < FEWEST:
        return none
    change = _change(frames)
    tissue = moving(frames, following, change) & field
    if tissue.sum() < MOVING * max((field & (frames.max(0) > LIT)).sum(), 1):
        return none
    mean = frames.mean(0, dtype=np.float32)
    shown = field & ((mean > DARK) | _inner(field, geometry))
    found = _drawn(change, mean, field, shown, tissue)
    found |= _standing(frames.std(0, dtype=np.float32), mean, field & ~found, shown, tissue)
    label, n = ndimage.label(found, np.ones((3, 3)))
    found &= (np.bincount(label.ravel(), minlength=n + 1) >= SPECK_PX)[label]
    blurred = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0     # by a codec, or by smooth letters
    return np.asarray(blurred & field)


def _drawn(change: Array, mean: Array, field: Mask, shown: Mask, tissue: Mask) -> Mask:
    """Pixels that keep their level, at steps of the mean picture, and plain areas that such steps enclose."""
    steady = shown & (change <= np.clip(STEADY_SHARE * np.median(change[tissue]), *STEADY))
    about = np.ones((5, 5), np.uint8)
    step = cv2.dilate(np.where(field, mean, 0), about) - cv2.erode(np.where(field, mean, 255), about)
    drawn = steady & (step >= np.where((mean > CUT_OFF[0]) & (mean < CUT_OFF[1]), STEP, STEP_CUT_OFF))
    boxes = _enclosed(steady & ~drawn, drawn)
    return np.asarray(drawn & ((mean > DARK) | (cv2.dilate(boxes.astype(np.uint8), about) > 0)) | boxes)


def _standing(spread: Array, mean: Array, field: Mask, shown: Mask, tissue: Mask) -> Mask:
    """Pixels that stand out of the `field` about them by far more than they flicker: what a codec has blurred."""
    about = LocalMean(field, (AROUND_PX, AROUND_PX))(mean)
    stands = shown & (np.abs(mean - about) >= np.maximum(STANDS_OUT, FLICKERS * spread))
    calm, calmer = (stands & (spread <= share * np.median(spread[tissue])) for share in CALM)
    return np.asarray(ndimage.binary_propagation(calmer, np.ones((3, 3)), calm))       # letters are so in parts


def moving(frames: Frames, following: Frames, change: Array) -> Mask:
    """Pixels [rows, columns] of patches that show tissue on its way: far frames differ more than neighbours do."""
    rows, columns = change.shape
    small = -(-columns // PATCH_PX), -(-rows // PATCH_PX)
    near = np.mean([np.square(cv2.subtract(a, b, dtype=cv2.CV_32F)) for a, b in zip(frames, following, strict=True)],
                   axis=0)
    far = 2 * frames.var(0, dtype=np.float32)
    less, most = (cv2.resize(part.astype(np.float32), small, interpolation=cv2.INTER_AREA) for part in (near, far))
    patch = (less < CONTINUES * most).astype(np.uint8)
    return np.asarray((cv2.resize(patch, (columns, rows), interpolation=cv2.INTER_NEAREST) > 0)
                      & (change > FLICKER) & (frames.max(0) > LIT))


def without(geometry: ProbeGeometry, mask: Mask) -> ProbeGeometry:
    """A field of view that static pixels are no part of; as it was where they leave no room for cells."""
    if not mask.any():
        return geometry
    found = replace(geometry, static=mask)
    try:
        enough = len(cells(found)) >= LEAST_CELLS * len(cells(geometry))
    except InputError:
        enough = False
    return found if enough else geometry


def warnings_of(share: float) -> list[str]:
    """What a user should know of a share of the field of view that is static."""
    return [f"{share:.1%} of the field of view never changes (text, rulers, borders, haze that stands still): it is no "
            "tissue and takes no part"] if share >= NOTABLE else []


def _change(frames: Frames) -> Array:
    """Largest deviation but one [rows, columns] of each pixel from its median over the frames."""
    middle = np.median(frames, axis=0).astype(np.float32)
    most, second = np.zeros((2, *middle.shape), np.float32)
    for frame in frames:
        off = np.abs(frame - middle)
        second = np.maximum(second, np.minimum(off, most))
        most = np.maximum(most, off)
    return second


def _inner(field: Mask, geometry: ProbeGeometry) -> Mask:
    """Pixels of the field of view that are not near its edge."""
    pixel_mm = float(np.sqrt(geometry.scale[0, 0] * geometry.scale[1, 1]))
    around = cv2.copyMakeBorder(field.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(around, cv2.DIST_L2, 3)[1:-1, 1:-1] * pixel_mm > RIM_MM)


def _enclosed(plain: Mask, drawn: Mask) -> Mask:
    """Plain areas whose rim is drawn: the inside of boxes."""
    label, n = ndimage.label(plain)
    if not n:
        return plain
    around = ndimage.maximum_filter(label, 3)
    rim = (around > 0) & ~plain
    size = np.bincount(around[rim], minlength=n + 1)
    sharp = np.bincount(around[rim & drawn], minlength=n + 1)
    return np.asarray(plain & (sharp >= BOUNDED * np.maximum(size, 1))[label])
