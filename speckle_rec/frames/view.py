"""What the frames of a scan show, each for itself: field of view, cells, contact, brightness."""

from ..probe.field import cells, find
from ..products.stages import View
from ..scan import Scan
from . import brightness, lift_off, overlay
from .speckled import speckled
from .working_images import WorkingImages, sample_frames


def look(scan: Scan) -> View:
    """The view of a scan: where in the frames tissue is shown, and which cells of it are to be measured."""
    found, static_share, samples = overlay.taken_out(scan, find(sample_frames(scan), scan.scale))            # (2.8)
    images = WorkingImages.of(scan, found.geometry)
    grid = cells(images.geometry)
    lost = lift_off.lost_in(images, grid)                                                                    # (3.12)
    moving = speckled(*samples, images, grid)                                                               # (6.1)
    warnings = (*brightness.warnings_of(brightness.measure(images)), *lift_off.warnings_of(lost),
                *overlay.warnings_of(static_share))
    return View(scan, found, images, grid, lost, moving, static_share, warnings)
