"""Where frames show tissue: the field of view of a curvilinear or linear probe, and the cells it is divided into.

In: frames and the size of a pixel. Out: `field.ProbeGeometry`, `field.Cells`.
Entered by `field.find` and `field.cells`.
"""
