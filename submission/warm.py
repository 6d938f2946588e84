"""Compile every kernel once, while the image is built: the first scan of the test then starts at full speed."""

import tempfile
from pathlib import Path

from predict_ddfs import predict_ddfs

from speckle_rec.io.calib import built_in, write_challenge
from speckle_rec.synth.scan import simulate_scan

scan = simulate_scan(n_frames=40)
calibration = built_in()
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "calib_matrix.csv"
    write_challenge(path, calibration.scale, calibration.T_tool_image)
    fields = predict_ddfs(scan.frames, scan.landmarks, str(path), "cpu")
print("kernels compiled;", ", ".join(str(values.shape) for values in fields))
