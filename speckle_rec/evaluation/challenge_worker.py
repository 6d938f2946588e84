"""Run by `challenge.Submission` as a script, in the interpreter of the entry: any Python 3 with numpy.

Imports nothing of this package, so that neither side's dependencies meet the other's. The entry sees a process like
one of its own: its file is the only word of the command line, its folder the first to import from, and nothing to be
read from the standard input. The true poses come through that input and are read once the fields are there.
"""

import importlib.machinery
import importlib.util
import io
import json
import os
import signal
import sys
import threading
import time

import numpy as np

FIELDS = ("GP", "GL", "LP", "LL")


def main(entry, work, device):
    """Call ``predict_ddfs`` of the file `entry` on the scan in `work`; write errors and time to found.json."""
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    truth = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv = [entry]
    here = os.path.dirname(os.path.abspath(__file__))      # whose modules are not for the entry
    others = [path for path in sys.path if os.path.abspath(path) != here]
    sys.path[:] = [os.path.dirname(os.path.realpath(entry))] + others
    try:
        found = judge(entry, work, device, truth)
    except SystemExit as error:
        found = {"error": f"ended the process with sys.exit({'' if error.code is None else repr(error.code)})"}
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}
    with open(os.path.join(work, "found.json"), "w") as file:
        json.dump(found, file)
    os._exit(0)      # threads and handlers that the entry leaves behind have nothing to say


def judge(entry, work, device, truth):
    """Errors of the entry's fields, those of their mirror image, and the time that they took."""
    predict_ddfs = getattr(load(entry), "predict_ddfs", None)
    if not callable(predict_ddfs):
        return {"error": "expected a function predict_ddfs(frames, landmark, data_path_calib, device), found none"}
    frames = np.load(os.path.join(work, "frames.npy"))
    landmark = np.load(os.path.join(work, "landmark.npy"))
    start = time.perf_counter()
    fields = predict_ddfs(frames, landmark.copy(), os.path.join(work, "calib_matrix.csv"), device_of(device))
    seconds = time.perf_counter() - start
    shape = frames.shape
    del frames
    if not isinstance(fields, (tuple, list)) or len(fields) != 4:
        many = f" of {len(fields)}" if isinstance(fields, (tuple, list)) else ""
        return {"error": f"expected four arrays {', '.join(FIELDS)}, found a {type(fields).__name__}{many}"}
    with open(truth, "rb") as file:
        truth = np.load(io.BytesIO(file.read()))
    errors, mirrored = {}, {}
    for name, values in zip(FIELDS, fields):  # noqa: B905 (old Pythons)
        values = np.asarray(values)
        wanted = (shape[0] - 1, 3, shape[1] * shape[2]) if name[1] == "P" else (3, len(landmark))
        if values.shape != wanted or values.dtype.kind not in "fiu":
            return {"error": f"expected {wanted} as {name}, found {values.dtype} {values.shape}"}
        measure = pixel_errors if name[1] == "P" else landmark_errors
        A = ((truth[name[0]] - np.eye(4)) @ truth["scale"])[:, :3][:, :, [0, 1, 3]]
        with np.errstate(all="ignore"):     # what is not finite is told by who reads the errors
            errors[name + "E"], mirrored[name + "E"] = measure(values, A, shape, landmark)
    return {"seconds": seconds, "errors": errors, "mirrored": mirrored}


def load(entry):
    """The module of a file, whatever it is called, known by the file's name to whoever imports it again."""
    name = os.path.splitext(os.path.basename(entry))[0]
    loader = importlib.machinery.SourceFileLoader(name, entry)
    spec = importlib.util.spec_from_file_location(name, entry, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def end_with_parent(parent):
    """Wait for the parent to end and end with it, and with all that the entry has started."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def pixel_errors(values, A, shape, landmark):
    """Mean distance of fields [N-1, 3, P] from those of A [N, 3, 3], and of their mirror image (z reversed)."""
    x = np.arange(1, shape[2] + 1, dtype=np.float32)[None]
    y = np.arange(1, shape[1] + 1, dtype=np.float32)[:, None]
    total = [0.0, 0.0]
    for got, a in zip(values, A[1:].astype(np.float32)):  # noqa: B905
        X, Y, Z = (a[c, 0] * x + (a[c, 1] * y + a[c, 2]) for c in range(3))
        got = got.reshape(3, shape[1], shape[2])
        flat = np.square(got[0] - X) + np.square(got[1] - Y)
        total[0] += np.sqrt(flat + np.square(got[2] - Z)).mean(dtype=np.float64)
        total[1] += np.sqrt(flat + np.square(got[2] + Z)).mean(dtype=np.float64)
    return [float(t) / len(values) for t in total]


def landmark_errors(values, A, shape, landmark):
    """The same at landmarks; frame 0 wraps to the last, as the challenge's indexing does."""
    at = np.asarray(landmark, int)
    frame = np.where(at[:, 0] == 0, len(A) - 1, at[:, 0])
    true = np.einsum("lij,lj->il", A[frame], np.stack([at[:, 1], at[:, 2], np.ones(len(at))], -1))
    return [float(np.sqrt(np.square(values * [[1], [1], [sign]] - true).sum(0)).mean()) for sign in (1, -1)]


def device_of(wanted):
    """What the organisers' script hands over: a torch device, or a plain word where there is no torch."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main(*sys.argv[1:4])
