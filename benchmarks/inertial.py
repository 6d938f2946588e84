"""What an inertial sensor on the probe gives: scores with and without one, of tracked scans, with simulated sensors.

python benchmarks/inertial.py SCAN.h5 [--frames N] [--noise .1 .5] [--drift 2 5] [--motion sweep]
"""

import argparse

import numpy as np

import speckle_rec as sr
from speckle_rec import geometry
from speckle_rec.scoring import score
from speckle_rec.synth import inertial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan")
    parser.add_argument("--frames", type=int, help="of the scan, from its first")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.1, 0.5], help="degrees")
    parser.add_argument("--drift", type=float, nargs="*", default=[2.0, 5.0], help="degrees a minute, one a noise")
    parser.add_argument("--motion", default="auto")
    parser.add_argument("--jobs", type=int, default=0)
    a = parser.parse_args()
    tracked = sr.Scan.open(a.scan)
    n = min(a.frames or tracked.n_frames, tracked.n_frames)
    true = tracked.T_first_frame_tracked
    if true is None:
        raise SystemExit(f"{a.scan}: no tracked poses")
    true, steps = true[:n], geometry.steps(true[:n])
    scan = sr.Scan.from_arrays(tracked.frames(0, n), scale=tracked.scale, frame_rate_hz=tracked.frame_rate_hz)
    times = np.arange(n) / scan.frame_rate_hz
    config = sr.Config(jobs=a.jobs, motion=a.motion)
    print("| sensor | final as decided | mirror given | GPE mm | LPE mm | handedness |\n|---|---:|---:|---:|---:|---|")
    for sensor in (None, *(inertial.Sensor(noise, drift) for noise, drift in zip(a.noise, a.drift, strict=True))):
        record = None if sensor is None else inertial.record(true, times, sensor)
        result = sr.reconstruct(scan, config=config, orientation=record)
        poses = result.T_first_frame, result.T_prev_frame, true, steps, scan.scale, scan.shape
        given, decided = score.with_mirror_given(*poses)[0], score.evaluate(*poses)
        name = "none" if sensor is None else f"{sensor.noise_deg:g} deg, {sensor.drift_deg_per_min:g} deg/min"
        print(f"| {name} | {decided.final:.3f} | {given.final:.3f} | {given.GPE:.2f} | {given.LPE:.3f} | "
              f"{result.verdict['handedness']} |", flush=True)


if __name__ == "__main__":
    main()
