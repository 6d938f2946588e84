"""What one frame shows: field of view, cells, texture, brightness, contact, what never moves.

In: a scan (`Scan`). Out: a `View`: the field of view, images at the working resolution, cells and which take part.
Entered by `view.look`.
"""
