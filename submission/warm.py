"""Compile the kernels, and the byte code of what is imported, once, while the image is built.

The first scan of the test then starts at full speed.
"""

import tempfile
from importlib import import_module
from pathlib import Path

from predict_ddfs import predict_ddfs

from speckle_rec.io.calib import built_in, write_challenge
from speckle_rec.synth.scan import simulate_scan

for name in ("torch", "h5py", "matplotlib.pyplot", "selftest"):     # what the organisers' script and ours import
    import_module(name)
scan = simulate_scan(n_frames=40)
calibration = built_in()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "calib_matrix.csv"
    write_challenge(path, calibration.scale, calibration.T_tool_image)
    for n in (40, 10, 2):       # short scans take kernels of their own
        marks = scan.landmarks[scan.landmarks[:, 0] < n]
        fields = predict_ddfs(scan.frames[:n], marks, str(path), "cpu")
print("kernels compiled;", ", ".join(str(values.shape) for values in fields))
