"""Frames while the probe is on the skin: recorded as they come, placed at once, the full estimate at the end.

In: frames of a link, a camera or a file (`sources`, `link`). Out: poses and a growing volume by the link, a page, and
a recording that `Scan.open` reads. Entered by `session.Session`.
"""
