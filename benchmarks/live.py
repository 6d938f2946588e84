"""Latency and drops of `live`: a scan played at its own rate through a socket, each frame to its pose.

python benchmarks/live.py SCAN [--rate 20] [--frames N] [--core 0] [--json FILE] [-o FOLDER]

`live` runs in a process of its own, on one core (`--core`; -1 for all) and without its page; this process sends IMAGE
messages and waits for TRANSFORM messages with the same time stamp. A latency is the time from the first byte of an
image to the last of its pose. At the end the full estimate runs, and the live poses are set beside it.
"""

import argparse
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speckle_rec import geometry as se3  # noqa: E402
from speckle_rec.live.wire import HEADER, POSE, STAMP, pyigtl  # noqa: E402
from speckle_rec.scan import Scan  # noqa: E402


def start(folder: Path, core: int) -> tuple[subprocess.Popen[str], int]:
    """`live` as a process on one core, and its port."""
    def on_core() -> None:
        if core >= 0:
            os.sched_setaffinity(0, {core})

    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "live", "--port", "0", "--no-page", "--no-volume", "--no-progress",
         "--idle", "3", "--overwrite", "-o", str(folder)],
        stdout=subprocess.PIPE, text=True, preexec_fn=on_core)
    assert process.stdout is not None
    port = 0
    for line in process.stdout:
        if match := re.match(r"listening\s+\S+:(\d+)", line):
            port = int(match[1])
        if line.startswith("recording"):
            return process, port
    raise SystemExit("live did not start")


def hear(link: socket.socket, sent: dict[bytes, float], heard: dict[bytes, tuple[float, np.ndarray]]) -> None:
    """Note when each pose comes, by its time stamp."""
    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (part := link.recv(size - len(data))):
                raise EOFError
            data += part
        return data

    try:
        while True:
            head = exactly(HEADER.size)
            _, kind, name, stamp, size, _ = HEADER.unpack(head)
            body = exactly(size)
            if kind.rstrip(b"\0") == b"TRANSFORM" and name.rstrip(b"\0").decode() == POSE:
                T = np.eye(4)
                T[:3] = np.array(struct.unpack(">12f", body)).reshape(4, 3).T
                heard[stamp] = time.monotonic() - sent[stamp], T
    except (EOFError, OSError):
        return


def processor_s(process: subprocess.Popen[str]) -> float:
    """Processor time of a process so far."""
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def corner_error_mm(a: np.ndarray, b: np.ndarray, scan: Scan) -> float:
    """Mean distance of the image's corners by two trajectories, or one and the other's mirror image."""
    rows, columns = scan.shape
    pixels = np.array([[x, y, 0, 1] for x in (1, columns) for y in (1, rows)], float)
    corners = scan.scale @ pixels.T
    return float(min(np.linalg.norm(((c - b) @ corners)[:, :3], axis=1).mean() for c in (a, se3.mirror(a))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--rate", type=float, default=20.0, help="frames a second")
    parser.add_argument("--frames", type=int, default=None, help="play so many only")
    parser.add_argument("--core", type=int, default=0, help="that live runs on; -1 for all")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("-o", "--out", type=Path, default=Path("live-benchmark"))
    asked = parser.parse_args()
    scan = Scan.open(asked.scan)
    n = min(asked.frames or scan.n_frames, scan.n_frames)
    voxel_mm = np.diag([*np.diag(scan.scale)[:2], 1.0, 1.0])
    packed = [pyigtl().ImageMessage(image[None], voxel_mm, timestamp=1e9 + k / asked.rate, device_name="Image").pack()
              for start_at in range(0, n, 64)
              for k, image in enumerate(scan.frames(start_at, min(start_at + 64, n)), start_at)]
    process, port = start(asked.out, asked.core)
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent: dict[bytes, float] = {}
    heard: dict[bytes, tuple[float, np.ndarray]] = {}
    listener = threading.Thread(target=hear, args=(link, sent, heard))
    listener.start()
    load, worked, began, late_s = os.getloadavg(), processor_s(process), time.monotonic(), 0.0
    for k, message in enumerate(packed):
        time.sleep(max(0.0, began + k / asked.rate - time.monotonic()))
        late_s = max(late_s, time.monotonic() - began - k / asked.rate)
        sent[message[STAMP]] = time.monotonic()
        link.sendall(message)
    lasted = time.monotonic() - began
    worked, load_after = processor_s(process) - worked, os.getloadavg()
    assert process.stdout is not None
    rest = process.stdout.read()
    if process.wait() != 0:
        raise SystemExit("live ended with an error")
    link.close()
    listener.join(5)
    latency = np.array([heard[stamp][0] for stamp in sent if stamp in heard]) * 1000
    stamps = list(sent)
    placed = np.array([k for k, stamp in enumerate(stamps) if stamp in heard])
    live = np.array([heard[stamps[k]][1] for k in placed])
    with h5py.File(asked.out / "poses.h5") as file:
        full = file["T_first_frame"][()]
    told = {
        "scan": str(asked.scan), "frames": n, "rate_hz": asked.rate, "core": asked.core,
        "sent_in_s": round(lasted, 1), "sender_late_ms": round(1000 * late_s, 1),
        "load_before": [round(x, 2) for x in load], "load_after": [round(x, 2) for x in load_after],
        "processor_ms_a_frame": round(1000 * worked / n, 1),
        "poses": len(latency), "without_pose": n - len(latency), "kept": len(full),
        "latency_median_ms": round(float(np.median(latency)), 1),
        "latency_95_ms": round(float(np.quantile(latency, 0.95)), 1),
        "latency_worst_ms": round(float(latency.max()), 1),
        "live_from_full_mm": round(corner_error_mm(live, full[placed], scan), 2),
        "identity_from_full_mm": round(corner_error_mm(np.tile(np.eye(4), (len(placed), 1, 1)), full[placed], scan), 2)}
    if (tracked := scan.T_first_frame_tracked) is not None:
        told["live_error_mm"] = round(corner_error_mm(live, tracked[placed], scan), 2)
        told["full_error_mm"] = round(corner_error_mm(full[:n], tracked[:n], scan), 2)
    print(next((line for line in rest.splitlines() if line.startswith("live ")), ""))
    for name, value in told.items():
        print(f"{name:<24}{value}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
