"""Files of other programs, one module each, the only places where their conventions live.

In: a path. Out: arrays in our conventions, as `source.ScanContent` for scans; and the other way round.
"""
