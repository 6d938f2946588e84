"""Contact sheet of simulated frames: fan, rock, second fan, sweep.

python benchmarks/contact_sheet.py [--seed 1] [--noise-db -20] [-o docs/img/contact_sheet.png]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.scan import SWEEP_PRESS_MM, ScanSettings, plan, tissue_of
from speckle_rec.synth.scatterers import Medium, visible
from speckle_rec.synth.trajectory import R_WORLD_IMAGE, about_face

TILE = (480, 360)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise-db", type=float, default=Beam().noise_db)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/img/contact_sheet.png"))
    arguments = parser.parse_args()
    tiles = []
    for view, frame in zip(VIEWS, views(arguments.seed, replace(Beam(), noise_db=arguments.noise_db)), strict=True):
        tile = cv2.resize(frame, TILE, interpolation=cv2.INTER_AREA)
        cv2.putText(tile, view[0], (8, TILE[1] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 210, 1, cv2.LINE_AA)
        tiles.append(tile)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.vstack([np.hstack(tiles[:3]), np.hstack(tiles[3:])])
    cv2.imwrite(str(arguments.out), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
