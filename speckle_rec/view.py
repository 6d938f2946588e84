"""What the frames of a scan show, each for itself: field of view, cells, contact, brightness."""

from . import brightness, contact
from .probe import cells, find
from .products import View
from .scan import Scan
from .working import WorkingImages, sample_frames


def look(scan: Scan) -> View:
    """The view of a scan: where in the frames tissue is shown, and which cells of it are to be measured."""
    found = find(sample_frames(scan), scan.scale)
    images = WorkingImages.of(scan, found.geometry)
    grid = cells(images.geometry)
    lost = contact.lost_in(images, grid)                                                                    # (3.12)
    warnings = (*brightness.warnings_of(brightness.measure(images)), *contact.warnings_of(lost))
    return View(scan, found, images, grid, lost, warnings)
