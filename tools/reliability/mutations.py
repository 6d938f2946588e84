"""What can be wrong with a file: damage to its bytes, and files that are well formed but say the wrong thing."""

import os
import socket
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from speckle_rec import geometry

from .world import COLUMNS, ROWS, SCAN, TARGETS, VAL_SCAN, N, Target, frames, poses

Mutation = Callable[[Path], object]     # given the file (which is whole), damages it


@dataclass(frozen=True)
class Case:
    """A damaged file and the command that meets it."""

    name: str
    target: Target
    damage: Mutation


def cases(n: int, seed: int = 0) -> list[Case]:
    """The whole catalogue, and random damage to bytes up to `n` cases; a sample of the catalogue where `n` is small."""
    found = list(catalogue())
    rng = np.random.default_rng(seed)
    few = 3 * n // 4
    if few < len(found):
        found = [found[k] for k in sorted(rng.choice(len(found), few, replace=False))]
    targets = list(TARGETS.values())
    for k in range(n - len(found)):
        kind = list(BYTES)[k // len(targets) % len(BYTES)]
        target, draw = targets[k % len(targets)], int(rng.integers(1 << 31))
        found.append(Case(f"{target.label}: {kind} #{draw}", target, _bytes(BYTES[kind], draw)))
    return found


def catalogue() -> Iterator[Case]:
    """The cases that are not drawn."""
    for part in (_scans, _poses_in_files, _landmarks, _sequences, _texts, _h5_everywhere, _calibrations, _summaries,
                 _keys, _places):
        yield from part()


# Damage to bytes

def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))
    return data


def _flip_head(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, min(len(data), 2048), rng.integers(1, 9)):
        data[at] = int(rng.integers(256))
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytes:
    return data[:int(rng.integers(0, len(data)))]


def _blank(data: bytearray, rng: np.random.Generator) -> bytes:
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 600))
    data[at:at + size] = bytes([int(rng.choice([0, 255, 32]))]) * len(data[at:at + size])
    return data


def _insert(data: bytearray, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def _digits(data: bytearray, rng: np.random.Generator) -> bytes:
    places = [k for k in range(min(len(data), 1 << 20)) if 48 <= data[k] < 58]
    for at in rng.choice(places, min(len(places), 3), replace=False) if places else []:
        data[at:at + 1] = [b"-", b"9" * 9, b"1e308", b"nan", b"inf", b"", b"0", b"-1e-308"][int(rng.integers(8))]
    return data


def _lines(data: bytearray, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a] if rng.random() < 0.5 else lines[b]
    return b"\n".join(lines)


def _repeat(data: bytearray, rng: np.random.Generator) -> bytes:
    a, b = sorted(rng.integers(len(data), size=2))
    return data[:b] + data[a:b] + data[b:]


BYTES = {"flipped bits": _flip_bits, "damaged head": _flip_head, "truncated": _cut, "blanked": _blank,
         "inserted": _insert, "other digits": _digits, "swapped lines": _lines, "repeated part": _repeat}


def _bytes(change: Callable[[bytearray, np.random.Generator], bytes], draw: int) -> Mutation:
    def damage(path: Path) -> None:
        path.write_bytes(bytes(change(bytearray(path.read_bytes()), np.random.default_rng(draw))))
    return damage


# Well formed, but wrong

def _replace(key: str, **options: object) -> Mutation:
    """Put another dataset in the place of `key`; `options` are those of `create_dataset`."""
    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[key]
            file.create_dataset(key, **options)  # type: ignore[arg-type]
    return damage


def _edit(change: Callable[[h5py.File], object]) -> Mutation:
    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)
    return damage


def _array(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            data = change(file[key][()])
            del file[key]
            file[key] = data
    return damage


DTYPES = ("i1", "<i2", ">i2", ">u2", "<i4", ">i8", "<u8", ">f4", "<f2", ">f8", "c8", "?", "S3")
ODD_TYPES = {
    "text": h5py.string_dtype(), "ragged": h5py.vlen_dtype(np.uint8), "enum": h5py.enum_dtype({"a": 1}),
    "record": np.dtype([("a", "u1"), ("b", "f4")]), "opaque": np.dtype("V3"), "reference": h5py.ref_dtype,
    "region": h5py.regionref_dtype, "array": np.dtype(("f4", (4, 4))), "long double": np.dtype("longdouble"),
}


def _scans() -> Iterator[Case]:
    images = frames()

    def case(name: str, damage: Mutation, file: str = SCAN) -> Case:
        return Case(f"scan: {name}", next(t for t in TARGETS.values() if t.file == file), damage)

    for dtype in DTYPES:
        yield case(f"frames as {dtype}", _replace("frames", data=images.astype(dtype)))
    for name, dtype in ODD_TYPES.items():
        yield case(f"frames as {name}", _replace("frames", shape=(N, ROWS, COLUMNS), dtype=dtype))
    shapes = ((), (0,), (N,), (N, ROWS), (0, ROWS, COLUMNS), (N, 0, COLUMNS), (N, 1, 1), (N, 15, 16), (N, 16, 16),
              (N, ROWS, 8193), (N, 9000, 9000), (N, ROWS, COLUMNS, 1), (N, ROWS, COLUMNS, 3), (1, 1, N, ROWS, COLUMNS),
              (COLUMNS, ROWS, N), (1, ROWS, COLUMNS), (2, ROWS, COLUMNS), (3, 2000, 2000), (3, 4000, 2000),
              (2, 8192, 8192), (N, 16, 2000), (N, 2000, 16))
    for shape in shapes:
        yield case(f"frames of shape {shape}", _replace("frames", data=np.full(shape, 90, np.uint8), **(
            {"compression": "gzip", "chunks": True} if np.prod(shape) > 1e6 else {})))
    yield case("no dataspace", _replace("frames", data=h5py.Empty("u1")))
    for size in ((10**6, 480, 640), (2**40, 480, 640), (2**62, 16, 16), (10, 2**40, 2**20)):
        chunks = (1, min(size[1], 480), min(size[2], 640))
        yield case(f"declared size {size}", _replace("frames", shape=size, dtype="u1", chunks=chunks))

    def one_chunk(shape, chunks, file):
        del file["frames"]
        data = file.create_dataset("frames", shape, "u1", chunks=chunks, compression="gzip")
        data[0] = 7

    for shape, chunks in (((10**6, 480, 640), (1, 480, 640)), ((4000, 480, 640), (2000, 480, 640)),
                          ((10**5, 16, 16), (10**5, 16, 16)), ((10**5, 100, 100), (10**5, 100, 100)),
                          ((50, 8192, 8192), (1, 8192, 8192)), ((64, 4096, 4096), (64, 4096, 4096))):
        yield case(f"compressed bomb {shape} in chunks {chunks}",
                   _edit(lambda file, s=shape, c=chunks: one_chunk(s, c, file)))

    def raw_bomb(file):
        del file["frames"]
        data = file.create_dataset("frames", (64, 480, 640), "u1", chunks=(1, 480, 640), compression="gzip")
        for k in range(64):
            data.id.write_direct_chunk((k, 0, 0), zlib.compress(bytes(50 << 20)))

    yield case("chunks that inflate to more than they hold", _edit(raw_bomb))
    for name, value in (("zero", 0), ("white", 255), ("grey", 128)):
        yield case(f"all {name}", _replace("frames", data=np.full((N, ROWS, COLUMNS), value, np.uint8)))
    yield case("frozen", _replace("frames", data=np.repeat(images[:1], N, 0)))
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("-1", -1.0), ("1e30", 1e30), ("256", 256.0)):
        data = images.astype(np.float32)
        data[3, 5, 5] = value
        yield case(f"a pixel of {name}", _replace("frames", data=data))
    yield case("in 0..1", _replace("frames", data=images / 255))
    yield case("fletcher", _replace("frames", data=images, chunks=(1, ROWS, COLUMNS), fletcher32=True))
    yield case("shuffled lzf", _replace("frames", data=images, chunks=(3, 7, 11), compression="lzf", shuffle=True))

    def unknown_filter(file):
        del file["frames"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, ROWS, COLUMNS))
        plist.set_filter(32000 + 123, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((N, ROWS, COLUMNS))
        made = h5py.h5d.create(file.id, b"frames", h5py.h5t.STD_U8LE, space, dcpl=plist)
        made.write_direct_chunk((0, 0, 0), bytes(ROWS * COLUMNS))

    yield case("an unknown filter", _edit(unknown_filter))
    yield case("many other datasets", _edit(lambda f: [f.create_group(f"g{k}") for k in range(3000)]))
    yield case("only tforms", _edit(lambda file: file.__delitem__("frames")))
    yield case("checked, huge", _replace("frames", shape=(10**7, 480, 640), dtype="u1", chunks=(1, 480, 640)), VAL_SCAN)


def _links(key: str) -> Iterator[tuple[str, Mutation]]:
    """Ways in which `key` of an HDF5 file is not in the file."""
    links = {
        "soft link": h5py.SoftLink("/other"), "soft link to itself": h5py.SoftLink(f"/{key}"),
        "dangling soft link": h5py.SoftLink("/nothing"), "external link": h5py.ExternalLink("other.h5", key),
        "external link to nothing": h5py.ExternalLink("nothing.h5", key),
        "external link to a pipe": h5py.ExternalLink("pipe", key),
        "external link to a device": h5py.ExternalLink("/dev/zero", key),
        "external link to a folder": h5py.ExternalLink(".", key),
    }

    def put(path: Path, link: object) -> None:
        with h5py.File(path, "a") as file, h5py.File(path.with_name("other.h5"), "w") as other:
            file.copy(key, other)
            file.move(key, "other")
            file[key] = link
        os.mkfifo(path.with_name("pipe"))

    for name, link in links.items():
        yield name, lambda path, link=link: put(path, link)

    def raw(path: Path, name: str) -> None:
        with h5py.File(path, "a") as file:
            shape, dtype = file[key].shape, file[key].dtype
            del file[key]
            file.create_dataset(key, shape, dtype, external=[(name, 0, h5py.h5f.UNLIMITED)])

    for name in ("/etc/passwd", "/dev/zero", "nothing.bin"):
        yield f"raw data in {name}", lambda path, name=name: raw(path, name)

    def virtual(path: Path) -> None:
        with h5py.File(path, "a") as file:
            shape, dtype = file[key].shape, file[key].dtype
            file.move(key, "other")
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(path), "other", shape, dtype)
            file.create_virtual_dataset(key, layout)

    yield "virtual dataset", virtual

    def group(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file.move(key, "other")
            file.create_group(key)["frames"] = 1

    yield "a group", group

    def named_type(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file.move(key, "other")
            file[key] = np.dtype("f4")

    yield "a named type", named_type


KEYS = {SCAN: ("frames", "tforms"), "data/landmarks/landmark_007.h5": ("RH_rotation",),
        "val/transfs/007/RH_rotation.h5": ("tforms",), "poses.h5": ("T_first_frame",),
        "result/poses.h5": ("T_prev_frame", "confidence", "scale", "timestamps_s"),
        "calibration.h5": ("coefficients",), "statistics.h5": ("scans",)}


def _h5_everywhere() -> Iterator[Case]:
    for file, keys in KEYS.items():
        target = next(t for t in TARGETS.values() if t.file == file)
        for key in keys:
            for name, damage in _links(key):
                if key != "scans" or "link" in name:
                    yield Case(f"{file}: {key} is {name}", target, damage)
            yield Case(f"{file}: no {key}", target, _edit(lambda f, key=key: f.__delitem__(key)))
            if key in ("frames", "scans"):
                continue
            for name, dtype in ODD_TYPES.items():
                yield Case(f"{file}: {key} as {name}", target, _replace(key, shape=(N, 4, 4), dtype=dtype))
            for shape in ((), (0,), (N,), (N, 4), (N, 4, 4), (N + 1, 4, 4), (N, 4, 4, 1), (0, 4, 4), (4, 4)):
                yield Case(f"{file}: {key} of {shape}", target, _replace(key, data=np.ones(shape)))
            for size in ((2**40, 4, 4), (10**8, 4, 4)):
                yield Case(f"{file}: {key} declared as {size}", target, _replace(key, shape=size, dtype="f8",
                                                                                 chunks=(1000, 4, 4)))
            yield Case(f"{file}: {key} without dataspace", target, _replace(key, data=h5py.Empty("f8")))
            for value in (np.nan, np.inf, -1e300, 1e300):
                yield Case(f"{file}: {key} of {value}", target, _array(
                    key, lambda x, value=value: np.full(x.shape, value)))


def _poses_in_files() -> Iterator[Case]:
    T = poses()
    stretched, mirrored, far, row, nan, inf = (T.copy() for _ in range(6))
    stretched[3, :3, :3] *= 1.5
    mirrored[:, 2] *= -1
    far[5, :3, 3] = 1e300
    row[2, 3] = 1, 2, 3, 4
    nan[4] = np.nan
    inf[4, 0, 3] = np.inf
    kinds = {"not rigid": stretched, "mirrored": mirrored, "very far": far, "bad last row": row, "one NaN": nan,
             "one infinity": inf, "all zero": np.zeros_like(T), "transposed": T.transpose(0, 2, 1),
             "all NaN": np.full_like(T, np.nan), "whole numbers": T.astype(int),
             "first one NaN": np.concatenate([nan[4:5], T[1:]])}
    for file, key in ((SCAN, "tforms"), ("val/transfs/007/RH_rotation.h5", "tforms"), ("poses.h5", "T_first_frame"),
                      ("result/poses.h5", "T_first_frame"), ("result/poses.h5", "T_prev_frame")):
        target = next(t for t in TARGETS.values() if t.file == file)
        for name, bad in kinds.items():
            with np.errstate(over="ignore"):
                values = bad.astype(np.float32) if key == "tforms" else bad
            yield Case(f"{file}: {key} {name}", target, _replace(key, data=values))
    scan = TARGETS[f"reconstruct {SCAN}"]
    yield Case("tforms as >f8", scan, _replace("tforms", data=T.astype(">f8")))
    yield Case("tforms of another length", scan, _replace("tforms", data=T[:5]))


def _landmarks() -> Iterator[Case]:
    file = "data/landmarks/landmark_007.h5"
    given = TARGETS[f"reconstruct {file}"]
    found = Target(file, TARGETS[f"reconstruct {SCAN}"].arguments)
    good = np.random.default_rng(1).integers([0, 1, 1], [N, COLUMNS + 1, ROWS + 1], (20, 3))
    outside = {"frame -1": (-1, 1, 1), "frame N": (N, 1, 1), "x 0": (1, 0, 1), "x beyond": (1, COLUMNS + 1, 1),
               "y beyond": (1, 1, ROWS + 1), "far": (2**62, 1, 1)}
    tables = {name: np.concatenate([good, [at]]) for name, at in outside.items()}
    tables |= {"fractions": good + 0.5, "floats": good.astype(float), "big endian": good.astype(">i4"),
               "largest": np.full((5, 3), 2**64 - 1, np.uint64), "none": np.zeros((0, 3), int), "pairs": good[:, :2],
               "transposed": good.T, "NaN": np.full((5, 3), np.nan), "one": good[:1], "booleans": good > 3,
               "many": np.tile(good, (5000, 1))}
    for name, table in tables.items():
        for how, target in (("given", given), ("found", found)):
            yield Case(f"landmarks: {name}, {how}", target, _replace("RH_rotation", data=table))
    yield Case("landmarks: of another scan", given, _edit(lambda f: f.move("RH_rotation", "LH_rotation")))


def _text(old: bytes, new: bytes, count: int = 1) -> Mutation:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        assert old in data, f"{path.name} holds no {old!r}"
        path.write_bytes(data.replace(old, new, count))
    return damage


def _sequences() -> Iterator[Case]:
    head = b"DimSize = %d %d %d" % (COLUMNS, ROWS, N)
    changes: dict[str, tuple[bytes, bytes]] = {f"DimSize{new.decode()}": (head, b"DimSize =" + new) for new in (
        b" 64 48", b" 64 48 1 10", b" 64 48 2 5", b" 0 48 10", b" -64 48 10", b" 64 48 0", b" 64 48 999999999",
        b" 999999999 999999999 999999999", b" 1 1 30720", b" 64 48 ten", b"", b" 8192 8192 10", b" 30720 1 1",
        b" 64 48 10.0")}
    changes |= {f"{old.decode()} -> {new.decode()}": (old, new) for old, new in (
        (b"MET_UCHAR", b"MET_USHORT"), (b"MET_UCHAR", b"MET_FLOAT"), (b"Channels = 1", b"Channels = 3"),
        (b"= LOCAL", b"= /etc/passwd"), (b"= LOCAL", b"= LIST"), (b"= LOCAL", b"= ../../x.raw"),
        (b"Orientation = MF", b"Orientation = ZZ"), (b"Orientation = MF", b"Orientation = FM"),
        (b"Orientation = MF", b"Orientation = UN"), (b"CompressedData = ", b"CompressedData = x"),
        (b"0.23 0", b"nan 0"), (b"0.23 0", b"1e300 0"), (b"0.23 0", b"0 0"), (b"0.23 0", b"-0.23 0"),
        (b"0.23 0", b"0.23"), (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = 0.05"),
        (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = 0.10"),
        (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = nan"),
        (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = 1e308"),
        (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = -1e308"),
        (b"Frame0003_Timestamp = 0.15", b"Frame0003_Timestamp = 0.100000000001"),
        (b"Frame0003_Timestamp = 0.15", b"Frame9999999_Timestamp = 0.15"),
        (b"Frame0003_Probe", b"Frame99999999999_Probe"), (b"Status = OK", b"Status = INVALID"),
        (b"Seq_Frame0004_ImageStatus = OK", b"Seq_Frame0004_ImageStatus = INVALID"))}
    for file in ("plain.igs.mha", "packed.igs.mha"):
        target = TARGETS[f"reconstruct {file}"]
        for name, (old, new) in changes.items():
            yield Case(f"{file}: {name}", target, _text(old, new))
        yield Case(f"{file}: every frame invalid", target, _text(b"Status = OK", b"Status = INVALID", -1))
        yield Case(f"{file}: a header of 40 MB", target, _text(b"ElementDataFile", b"A = b\n" * 7_000_000
                                                               + b"ElementDataFile"))
        yield Case(f"{file}: one line of 40 MB", target, _text(b"ElementDataFile", b"A = " + b"b" * 40_000_000
                                                               + b"\nElementDataFile"))
    target = TARGETS["reconstruct packed.igs.mha"]

    def bomb(path: Path, n_frames: int) -> None:
        text = path.read_bytes().partition(b"ElementDataFile")[0].replace(head, b"DimSize = 640 480 %d" % n_frames)
        packer = zlib.compressobj(9)
        block, parts = bytes(640 * 480), []
        for _ in range(n_frames):
            parts.append(packer.compress(block))
        path.write_bytes(text + b"ElementDataFile = LOCAL\n" + b"".join(parts) + packer.flush())

    yield Case("packed.igs.mha: zeros of 1 GB", Target("packed.igs.mha", ("check", "packed.igs.mha")),
               lambda path: bomb(path, 3400))
    yield Case("packed.igs.mha: another stream", target, _text(b"LOCAL\nx", b"LOCAL\nX"))


def _texts() -> Iterator[Case]:
    for file in ("data/calib_matrix.csv", "plus.txt", "plus.xml", "config.toml", "tum.txt", "kitti.txt",
                 "result/summary.json"):
        target = next(t for t in TARGETS.values() if t.file == file)
        for name, data in {
            "empty": b"", "blanks": b" \n\t\n" * 100, "zeros": bytes(1000), "UTF-16": "a = 1\n".encode("utf-16"),
            "not UTF-8": b"\xff\xfe\xfd = 1\n", "numbers": b"1 2 3 4\n" * 4, "many numbers": b"1 " * 3_000_000,
            "a long line": b"a" * 2_000_000, "brackets": b"[" * 100_000, "braces": b'{"a":' * 100_000,
            "a big number": b"1" * 50_000, "a bomb of entities":
                b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + b"".join(
                    b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(1, 12)) + b"]><a>&m;</a>",
            "an external entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
            "control characters": b"\x1b[31m\r\x07 = 3\n", "a NUL": b"device = \0\n",
            "null": b"null", "a list": b"[]", "text": b'"text"'}.items():
            yield Case(f"{file}: {name}", target, lambda path, data=data: path.write_bytes(data))
    toml = TARGETS["reconstruct config.toml"]
    for text in ("jobs = -1", "jobs = 1e3", "jobs = 99999999999999999999", "seed = -1",
                 "seed = 10000000000000000000000",
                 "device = 3", "device = 'gpu'", "device = ''", "fusion = 'none'", "fusion = []", "jobs = nan",
                 "[jobs]", "[[jobs]]", "a.b.c = 1", "jobs = 2\njobs = 3", "jobs = 2000-01-01", "JOBS = 1",
                 "device = '../../x'", "__class__ = 1", "jobs = " + "9" * 5000):
        yield Case(f"config.toml: {text[:40]}", toml, lambda path, text=text: path.write_text(text + "\n"))
    csv = TARGETS["reconstruct data/calib_matrix.csv"]
    for name, change in {"mirrored": ("0.948189025293473", "-0.948189025293473"), "not rigid": ("0.231", "1.231"),
                         "NaN": ("0.231", "nan"), "infinite": ("-70.74", "-inf"),
                         "negative scale": ("0.2293", "-0.2293"),
                         "no scale": ("0.2293", "0.0000"), "huge scale": ("0.2293", "1e9"), "missing comma": (",", " "),
                         "semicolons": (",", ";"), "other title": ("scaling_from", "scale_from")}.items():
        yield Case(f"calib_matrix.csv: {name}", csv, _text(*(word.encode() for word in change),
                                                           -1 if change[0] == "," else 1))
    for file in ("tum.txt", "kitti.txt"):
        target = next(t for t in TARGETS.values() if t.file == file)
        T = poses()

        def table(path: Path, width: int, n: int, value: float) -> None:
            np.savetxt(path, np.full((n, width), value))

        for width, n, value in ((8, N, 0.0), (8, N, 1.0), (12, N, 0.0), (12, N, 1.0), (8, N, np.nan), (12, N, np.inf),
                                (7, N, 1.0), (8, N, 1e300), (12, N, 1e-320), (8, 0, 1.0), (12, N + 1, 1.0)):
            yield Case(f"{file}: {width} x {n} of {value}", target,
                       lambda path, w=width, n=n, v=value: table(path, w, n, v))
        rows = T[:, :3].copy()
        rows[:, 2] *= -1
        yield Case(f"{file}: mirrored", target, lambda path, rows=rows: np.savetxt(path, rows.reshape(-1, 12)))
        for shift in (1e6, 1e12, 1e300):
            moved = T[:, :3].copy()
            moved[4, 0, 3] = shift
            yield Case(f"{file}: {shift:g} m away", target,
                       lambda path, rows=moved: np.savetxt(path, rows.reshape(-1, 12)))


def _calibrations() -> Iterator[Case]:
    target = TARGETS["reconstruct calibration.h5"]
    attributes = ("curves.waist_mm", "curves.wavelength_mm", "curves.focus_mm", "curves.tail_b", "curves.tail_beta",
                  "curves.slow_share", "curves.kappa", "curves.floor", "curves.scale_uncertainty", "curves.steering",
                  "curves.mix", "curves.source", "mirror", "priors", "format", "version", "kind")
    for name in attributes:
        for value in (np.nan, np.inf, -1.0, 0.0, 1e300, "text", b"\xff", np.zeros(3), h5py.Empty("f8"), "{}", "[1]",
                      "null", '{"turn_sign": "x"}', '{"other": 1}'):
            yield Case(f"calibration.h5: {name} = {str(value)[:30]!r}", target,
                       _edit(lambda f, n=name, v=value: f.attrs.__setitem__(n, v)))
        yield Case(f"calibration.h5: no {name}", target, _edit(lambda f, n=name: f.attrs.__delitem__(n)))
    merge = next(t for t in TARGETS.values() if t.file == "statistics.h5")
    group = "scans/sub007__RH_rotation"
    for field in ("lines", "i", "j", "xi", "rho", "turn", "signs", "window", "planar_rms"):
        key = f"{group}/{field}"
        for name, change in {"NaN": lambda x: x * np.nan, "half": lambda x: x[:len(x) // 2], "zero": lambda x: x * 0,
                             "large": lambda x: x * 0 + 30000, "text": lambda x: np.full(x.shape, b"x"),
                             "scalar": lambda x: np.float64(1), "more axes": lambda x: x[None]}.items():
            yield Case(f"statistics.h5: {field} {name}", merge, _array(key, change))
        for name, damage in _links(key):
            if name in ("soft link", "external link", "external link to a pipe", "raw data in /dev/zero"):
                yield Case(f"statistics.h5: {field} is {name}", merge, damage)
        yield Case(f"statistics.h5: no {field}", merge, _edit(lambda f, key=key: f.__delitem__(key)))
        yield Case(f"statistics.h5: {field} declared huge", merge, _replace(key, shape=(10**10, 4), dtype="f2",
                                                                            chunks=(1000, 4)))
    for name in ("subject", "kind", "n_frames", "motion"):
        for value in (np.nan, -1, "text", "{}", "null", '{"turn": "x"}', h5py.Empty("f8")):
            yield Case(f"statistics.h5: {name} = {str(value)[:20]!r}", merge,
                       _edit(lambda f, n=name, v=value: f[group].attrs.__setitem__(n, v)))
    yield Case("statistics.h5: a scan is a dataset", merge, _edit(lambda f: f.__setitem__("scans/x", 3)))
    yield Case("statistics.h5: no scans", merge, _edit(lambda f: f[group.partition("/")[0]].clear()))


def _summaries() -> Iterator[Case]:
    file = "result/summary.json"
    for verb, target in {"export": TARGETS[f"export {file}"],
                         "report": Target(file, ("report", "result")),
                         "again": Target(file, ("reconstruct", SCAN, "-o", "result", "--no-volume"))}.items():
        for old, new in ((b'"rows": 48', b'"rows": -48'), (b'"rows": 48', b'"rows": "x"'),
                         (b'"rows": 48', b'"rows": 1e400'), (b'"rows"', b'"rwos"'), (b'"rows": 48', b'"rows": null'),
                         (b'"numbers": {', b'"numbers": 3, "x": {'), (b'"numbers"', b'"number"'),
                         (b'"warnings": [', b'"warnings": 3, "x": ['), (b'"warnings": [', b'"warnings": [3, null, '),
                         (b'"warnings"', b'"warning"'), (b'"score": null', b'"score": 7'),
                         (b'"score": null', b'"score": {"final": "x"}'), (b'"score": null', b'"score": {"steps": 1}'),
                         (b'"path_length_mm": ', b'"path_length_mm": "x", "y": '), (b'"scan": ', b'"scna": '),
                         (b'"path": "data/', b'"path": "nothing/'), (b'"path": "', b'"path": "/dev/zero", "z": "'),
                         (b'"run_times_s": {', b'"run_times_s": [], "x": {'), (b'"n_frames": 10', b'"n_frames": []'),
                         (b'"made_of": {', b'"made_of": 3, "z": {'), (b'"settings": {', b'"settings": [], "z": {'),
                         (b'"outputs": {', b'"outputs": 7, "z": {'), (b'"T_tool_image": [', b'"T_tool_image": [[], '),
                         (b'"version": ', b'"version": [], "z": ')):
            yield Case(f"{verb}: summary {old.decode()} -> {new.decode()}", target, _json(old, new))


def _json(old: bytes, new: bytes) -> Mutation:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        if old == b'"warnings": [' and old not in data:
            return
        path.write_bytes(data.replace(old, new, 1))
    return damage


CLIMBING = ("..", "sub..__..", "sub../..__x", "sub007__../../../x", "sub__", "__", "sub007__", "sub__RH_rotation",
            "sub007__RH rotation", "sub007__a\nb", "sub007__\x1b[31m", "sub007__" + "x" * 300, "sub007__é", "nothing",
            "sub999__RH_rotation", "sub007__*", "sub~root__x", "-o")


def _keys() -> Iterator[Case]:
    target = TARGETS["evaluate data/dataset_keys.h5"]
    for name in CLIMBING:
        yield Case(f"dataset_keys.h5: {name[:40]!r}", target, _edit(lambda f, name=name: f.require_group(name)))
        yield Case(f"dataset_keys.h5: only {name[:40]!r}", target, _edit(
            lambda f, name=name: (f.clear(), f.require_group(name))))
    yield Case("dataset_keys.h5: none", target, _edit(lambda f: f.clear()))
    yield Case("dataset_keys.h5: 2,000", target, _edit(lambda f: [f.create_group(f"sub{k:05d}__x")
                                                                    for k in range(2_000)]))
    yield Case("dataset_keys.h5: an external link", target, _edit(
        lambda f: f.__setitem__("sub001__x", h5py.ExternalLink("/dev/zero", "x"))))
    for name, data in (("empty", b""), ("text", b"sub007__RH_rotation\n"), ("a scan", None)):
        yield Case(f"dataset_keys.h5: {name}", target, lambda path, data=data: path.write_bytes(
            data if data is not None else (path.parents[1] / SCAN).read_bytes()))


def _places() -> Iterator[Case]:
    """Not files, and files of other names."""
    def instead(make: Callable[[Path], object]) -> Mutation:
        def damage(path: Path) -> None:
            path.unlink()
            make(path)
        return damage

    def listen(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            os.chdir(path.parent)
            server.bind(path.name)
            os.chdir(here)

    makes = {"nothing": lambda path: None, "a folder": lambda path: path.mkdir(), "a pipe": os.mkfifo,
             "a socket": listen, "a device": lambda path: path.symlink_to("/dev/zero"),
             "a loop of links": lambda path: path.symlink_to(path.name), "a dangling link":
                 lambda path: path.symlink_to("nothing"), "a list of processes":
                 lambda path: path.symlink_to("/proc/self/mem")}
    for target in TARGETS.values():
        for name, make in makes.items():
            yield Case(f"{target.label} is {name}", target, instead(make))
    for name in ("..h5", "...h5", ".h5", "a\nb.h5", "a\x1b[31mb.h5", "-x.h5", "é.h5", " .h5", "x" * 240 + ".h5", "*.h5",
                 "[a].h5", "..igs.mha", "...mha", ".mha", ".igs.mha", "\udcff.h5"):
        source = "plain.igs.mha" if name.endswith("mha") else SCAN
        arguments = ("reconstruct", f"./{name}", "--no-volume", "--no-progress")
        where = Target(source, arguments if name != "-x.h5" else ("reconstruct", "-x.h5"))
        for out in ((), ("-o", "{out}/r")):
            yield Case(f"a scan called {name[:20]!r} {' '.join(out)}", Target(source, (*where.arguments, *out)),
                       lambda path, name=name: (_world_of(path) / name).write_bytes(path.read_bytes()))
    folder = Target(SCAN, ("reconstruct", "odd", "--no-volume", "--no-progress", "-o", "{out}/r"))
    yield Case("a folder of odd names", folder, lambda path: _folder(_world_of(path) / "odd", path))
    yield Case("calibration of a frame", Target(SCAN, ("calibrate", SCAN, "-o", "{out}/c.h5", "--no-report")),
               _replace("frames", data=frames(1)))


def _world_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "config.toml").is_file())


def _folder(folder: Path, scan: Path) -> None:
    folder.mkdir()
    for name in ("..h5", "...h5", "a.h5"):
        (folder / name).write_bytes(scan.read_bytes())


def geometry_is_sound(T: np.ndarray) -> bool:
    """Whether poses [N, 4, 4] are finite and rigid."""
    return bool(np.isfinite(T).all()) and geometry.check_rigid(T, "poses").shape == T.shape
