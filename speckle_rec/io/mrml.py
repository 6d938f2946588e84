"""A 3D Slicer scene (.mrml) that refers to files beside it: volume, frames with transforms, outlines and path.

Slicer counts in RAS; the files are in LPS, whose x and y point the other way, and Slicer turns them as it reads them.
Transforms it takes as they are: those of the frames are turned here.
"""

import os
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TRANSFORM = "ImageToReferenceTransform"


def write(path: Path, *, volume: Path | None, frames: Path | None, transforms: Path, outlines: Path) -> None:
    """Write a scene of those files, which it names from where it lies."""
    nodes = []
    if volume is not None:
        nodes += [_node("VolumeArchetypeStorage", 1, fileName=_seen(volume, path)),
                  _node("VolumeDisplay", 1, kind="ScalarVolumeDisplay", autoWindowLevel=1, interpolate=1),
                  _node("Volume", 1, kind="ScalarVolume", name=volume.name.split(".")[0],
                        references="display:vtkMRMLScalarVolumeDisplayNode1;storage:vtkMRMLVolumeArchetypeStorageNode1;")]
    if frames is not None:
        nodes += [_node("VolumeSequenceStorage", 1, fileName=_seen(frames, path)),
                  _node("Sequence", 1, name="frames", indexName="time", indexUnit="s", indexType="numeric",
                        references="storage:vtkMRMLVolumeSequenceStorageNode1;")]
    nodes += [_node("LinearTransformSequenceStorage", 1, fileName=_seen(transforms, path)),
              _node("Sequence", 2, name="ImageToReference", indexName="time", indexUnit="s", indexType="numeric",
                    references="storage:vtkMRMLLinearTransformSequenceStorageNode1;"),
              _node("ModelStorage", 1, fileName=_seen(outlines, path), coordinateSystem="LPS"),
              _node("ModelDisplay", 1, representation=1, scalarVisibility=True, activeScalarName="confidence",
                    visibility=True),
              _node("Model", 1, name="outlines and path",
                    references="display:vtkMRMLModelDisplayNode1;storage:vtkMRMLModelStorageNode1;")]
    path.write_text('<MRML version="Slicer4.4.0" userTags="">\n' + "\n".join(nodes) + "\n</MRML>\n", encoding="utf-8")


def write_transforms(path: Path, T_first_frame: Array, timestamps_s: Array) -> None:
    """Write poses [N, 4, 4] (image mm, LPS) as a sequence of transforms (RAS): a MetaImage head without pixels."""
    n = len(T_first_frame)
    lines = ["ObjectType = Image", "NDims = 3", "AnatomicalOrientation = RAI", "BinaryData = True",
             "CompressedData = False", f"DimSize = 0 0 {n}", "ElementSpacing = 1 1 1", "Offset = 0 0 0",
             "TransformMatrix = 1 0 0 0 1 0 0 0 1", "ElementType = MET_UCHAR", "Kinds = domain domain list"]
    for k, T in enumerate(TO_RAS @ T_first_frame @ TO_RAS):
        row = " ".join(f"{value:.12g}" for value in T.ravel())
        lines += [f"Seq_Frame{k:04d}_{TRANSFORM} = {row}", f"Seq_Frame{k:04d}_{TRANSFORM}Status = OK",
                  f"Seq_Frame{k:04d}_Timestamp = {timestamps_s[k]:.6f}", f"Seq_Frame{k:04d}_ImageStatus = OK"]
    path.write_text("\n".join([*lines, "ElementDataFile = LOCAL"]) + "\n", encoding="ascii")


def _seen(file: Path, scene: Path) -> str:
    return Path(os.path.relpath(file.absolute(), scene.absolute().parent)).as_posix()


def _node(tag: str, number: int, kind: str = "", **attributes: object) -> str:
    told = "".join(f" {name}={quoteattr(str(value).lower() if isinstance(value, bool) else str(value))}"
                   for name, value in attributes.items())
    return f'  <{tag} id="vtkMRML{kind or tag}Node{number}"{told}></{tag}>'
