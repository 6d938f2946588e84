"""What the frames of a scan show, each for itself: field of view, cells, contact, brightness."""

from ..probe.field import Found, find
from ..products.stages import View
from ..scan import Scan
from . import brightness, lift_off, overlay
from .speckled import Measured, measured
from .working_images import WorkingImages, sample_frames


def look(scan: Scan) -> View:
    """The view of a scan: where in the frames tissue is shown, and which cells of it are to be measured."""
    found, what, static_share = field_of(scan)
    lost = lift_off.lost_in(what.images, what.cells)                                                        # (3.12)
    warnings = (*brightness.warnings_of(brightness.measure(what.images)), *lift_off.warnings_of(lost),
                *overlay.warnings_of(static_share))
    return View(scan, found, what.images, what.cells, lost, what.moving, static_share, warnings)


def field_of(scan: Scan) -> tuple[Found, Measured, float]:
    """The field of view of a scan without what is drawn, what of it is measured, and which share never moves."""
    found, drawn = overlay.taken_out(scan, find(sample_frames(scan), scan.scale))                  # (2.8)
    what = measured(WorkingImages.of(scan, found.geometry))                                                 # (2.9)
    return found, what, drawn + (1 - drawn) * what.standing_share
