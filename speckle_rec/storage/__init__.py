"""Result folders: written whole, read back, taken over for what they were made of, given outputs they lack.

In: a scan, its `Reconstruction`, settings. Out: the folder of docs/REPORT.md, or what it holds.
Entered by `folder.write`, `folder.read`, `adding.add`.
"""
