"""Contact sheet of simulated frames: fan, rock, second fan, sweep; or the middle frames of scans of many worlds.

python benchmarks/contact_sheet.py [--seed 1] [--noise-db -20] [-o docs/img/contact_sheet.png]
python benchmarks/contact_sheet.py --of bench/worlds -o docs/img/worlds_sheet.png       # as worlds.py keeps them
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np

from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.scan import SWEEP_PRESS_MM, ScanSettings, plan, tissue_of
from speckle_rec.synth.scatterers import Medium, visible
from speckle_rec.synth.trajectory import R_WORLD_IMAGE, about_face

TILE, SMALL = (480, 360), (288, 224)
# (title, kind of scan, starting plane, fan, turn, rock in degrees, contact in mm)
VIEWS = (("fan 0", "RH_rotation", "Per", (0, 0, 0), (0, 0, 0)),
         ("fan +18 deg", "RH_rotation", "Per", (18, 0, 0), (0, 0, 0)),
         ("rock 12 deg", "RH_rotation", "Per", (0, 0, 12), (0, 0, 0)),
         ("turned 91 deg", "RH_rotation", "Per", (0, -91, 0), (0, 0, 0)),
         ("second fan 16 deg", "RH_rotation", "Per", (16, -91, 0), (0, 0, 0)),
         ("sweep, 120 mm on", "RH_Per_L_PtD", "Per", (2, 3, -2), (120, SWEEP_PRESS_MM, 0)))


def views(seed: int, beam: Beam) -> list[np.ndarray]:
    """Frames uint8 [480, 640] of the views of one subject."""
    out = {}
    for kind in dict.fromkeys(view[1] for view in VIEWS):
        p = plan(ScanSettings(name=kind, seed=seed, n_frames=10, beam=beam))
        chosen = [v for v in VIEWS if v[1] == kind]
        T = np.concatenate([about_face(np.deg2rad([angles]), np.array([contact], float), R_WORLD_IMAGE[plane],
                                       p.geometry.face_mm) for _, _, plane, angles, contact in chosen])
        tissue = tissue_of(p.settings)
        medium = Medium.draw(tissue, seed, region_mm=visible(T, p.geometry, beam))
        renderer = Renderer(medium, tissue, beam, p.geometry)
        out.update({v[0]: renderer(T[i], i) for i, v in enumerate(chosen)})
    return [out[v[0]] for v in VIEWS]


def of_scans(folder: Path) -> dict[str, np.ndarray]:
    """Middle frame uint8 [rows, columns] of the first scan in each folder of a folder, by the folder's name."""
    out = {}
    for world in sorted(path for path in folder.iterdir() if path.is_dir()):
        path = next(iter(sorted(world.glob("frames_transfs/*/*.h5"))), None)
        if path is not None:
            with h5py.File(path) as file:
                out["-".join(world.name.split("-")[:2])] = file["frames"][len(file["frames"]) // 2]
    return out


def fitted(frame: np.ndarray) -> np.ndarray:
    """A frame in a tile of `SMALL`, its sides kept in proportion."""
    scale = min(SMALL[0] / frame.shape[1], SMALL[1] / frame.shape[0])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    out = np.zeros(SMALL[::-1], np.uint8)
    out[:small.shape[0], :small.shape[1]] = small
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise-db", type=float, default=Beam().noise_db)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/img/contact_sheet.png"))
    parser.add_argument("--of", type=Path, help="a folder of data sets, as worlds.py keeps them")
    arguments = parser.parse_args()
    if arguments.of:
        shown, columns = {name: fitted(frame) for name, frame in of_scans(arguments.of).items()}, 5
    else:
        frames = views(arguments.seed, replace(Beam(), noise_db=arguments.noise_db))
        shown, columns = {view[0]: cv2.resize(frame, TILE, interpolation=cv2.INTER_AREA)
                          for view, frame in zip(VIEWS, frames, strict=True)}, 3
    for name, tile in shown.items():
        cv2.putText(tile, name, (8, tile.shape[0] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 210, 1, cv2.LINE_AA)
    tiles = list(shown.values())
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.vstack([np.hstack(tiles[i:i + columns]) for i in range(0, len(tiles), columns)])
    cv2.imwrite(str(arguments.out), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
