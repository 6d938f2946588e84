"""Stand-in for the three functions of PyTorch3D that the organisers' script imports.

PyTorch3D has no wheels for current torch; the script needs no more of it than `transforms`.
"""
