"""What ITK-SNAP and 3D Slicer need to open a volume with its mask: workspaces, colour tables, start scripts.

An ITK-SNAP workspace keeps absolute paths and the folder it was saved in. Where it now lies elsewhere, ITK-SNAP strips
that folder from the paths and looks beside the workspace (IRISApplication::OpenProject), so that a made-up folder makes
a workspace that opens anywhere. Other readers' masks go in as overlays, which no version lets a person edit or save in
place of the mask; a second segmentation would replace the first in ITK-SNAP 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

from pipeline.core.file_names import IMAGE_FILE, LABEL_TABLE, package_mask
from pipeline.core.labels import Label, LabelScheme

COLOR_TABLE = "labels.ctbl"
WORKSPACE_VERSION = "20250909"
"""As ITK-SNAP 4.4 writes it; older programs open it too."""

_SAVED_IN = "/review"
_DTD = """<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
]>"""

Registry = Mapping[str, "str | Registry"]


def reading_name(letter: str) -> str:
    """An anonymous reader's mask, to look at and not to edit."""
    return f"reader_{letter}.nii.gz"


def label_table(scheme: LabelScheme) -> str:
    """ITK-SNAP's label descriptions: index, red, green, blue, opacity, visible, mesh, name."""
    lines = ["# ITK-SnAP Label Description File", "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL"]
    for value, name in scheme.titles.items():
        shown = int(value != Label.BACKGROUND)
        red, green, blue = scheme.colors[value]
        title = name if shown else "Clear Label"
        lines.append(f'{value:>5} {red:>5} {green:>4} {blue:>4} {shown:>5.2f}  {shown}   {shown}    "{title}"')
    return "\n".join(lines) + "\n"


def color_table(scheme: LabelScheme) -> str:
    """3D Slicer's colour table: index, name, red, green, blue, opacity; an underscore stands for a blank."""
    rows = [
        f"{value} {'_'.join(name.split())} {' '.join(map(str, scheme.colors[value]))} {255 * (value > 0)}"
        for value, name in scheme.titles.items()
    ]
    return "\n".join(["# Color table file labels.ctbl", f"# {len(rows)} values", *rows]) + "\n"


def itksnap_workspace(
    item_id: str,
    scheme: LabelScheme,
    *,
    image_range: tuple[float, float],
    shown: tuple[float, float],
    readings: Sequence[str] = (),
) -> str:
    """An `.itksnap` project: image, mask to edit, label colours and a fitting window.

    Args:
        item_id: names the mask.
        scheme: the labels.
        image_range: lowest and highest value of the image, which ITK-SNAP measures contrast by.
        shown: values shown as black and white.
        readings: letters of readers whose masks are shown beside the one to edit.
    """
    registry: Registry = {
        "SaveLocation": _SAVED_IN,
        "Version": WORKSPACE_VERSION,
        "Layers": {
            "Layer[000]": {
                "AbsolutePath": f"{_SAVED_IN}/{IMAGE_FILE}",
                "Role": "MainRole",
                "Tags": "",
                "LayerMetaData": {
                    "Alpha": "255",
                    "CustomNickName": item_id,
                    "Sticky": "0",
                    "DisplayMapping": _contrast(image_range, shown),
                },
                "ProjectMetaData": {
                    "IRIS": {"LabelState": _label_state(), "LabelTable": _label_elements(scheme)},
                },
            },
            "Layer[001]": _layer(package_mask(item_id), "SegmentationRole", item_id),
            **{
                f"Layer[{place:03d}]": _layer(reading_name(letter), "OverlayRole", f"reader {letter}")
                for place, letter in enumerate(readings, start=2)
            },
        },
    }
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n{_DTD}\n<registry>\n{_xml(registry, 1)}</registry>\n'


def _layer(name: str, role: str, nickname: str) -> Registry:
    return {
        "AbsolutePath": f"{_SAVED_IN}/{name}",
        "Role": role,
        "Tags": "",
        "LayerMetaData": {"Alpha": "255", "CustomNickName": nickname, "Sticky": "0"},
    }


def _label_state() -> Registry:
    return {
        "CoverageMode": "OverAll",
        "DrawingLabel": str(int(Label.LIVER)),
        "OverwriteLabel": "0",
        "PolygonInvert": "0",
        "SegmentationAlpha": "0.4",
    }


def _label_elements(scheme: LabelScheme) -> Registry:
    named = [(value, name) for value, name in scheme.titles.items() if value != Label.BACKGROUND]
    elements: dict[str, str | Registry] = {"NumberOfElements": str(len(named))}
    for place, (value, name) in enumerate(named):
        color = " ".join(map(str, scheme.colors[value]))
        elements[f"Element[{place}]"] = {
            "Alpha": "255",
            "Color": color,
            "Flags": "1 1",
            "Index": str(value),
            "Label": name,
        }
    return elements


def _contrast(image_range: tuple[float, float], shown: tuple[float, float]) -> Registry:
    """A straight contrast curve; its t runs from 0 at the image's lowest value to 1 at its highest."""
    low, high = image_range
    start, stop = (min(1.0, max(0.0, (value - low) / max(high - low, 1.0))) for value in shown)
    points: dict[str, str | Registry] = {"NumberOfControlPoints": "3"}
    for place, share in enumerate((0.0, 0.5, 1.0)):
        points[f"ControlPoint[{place}]"] = {"tValue": f"{start + share * (stop - start):.6g}", "xValue": f"{share:g}"}
    return {"ColorMap": {"Preset": "Grayscale"}, "Curve": points}


def _xml(registry: Registry, depth: int) -> str:
    """Entries before folders, as the format's own grammar asks."""
    indent = "  " * depth
    entries = [(key, value) for key, value in registry.items() if isinstance(value, str)]
    folders = [(key, value) for key, value in registry.items() if not isinstance(value, str)]
    lines = [f"{indent}<entry key={quoteattr(key)} value={quoteattr(value)} />\n" for key, value in entries]
    lines += [
        f"{indent}<folder key={quoteattr(key)} >\n{_xml(value, depth + 1)}{indent}</folder>\n" for key, value in folders
    ]
    return "".join(lines)


def windows_starter(item_id: str, *, readings: Sequence[str] = ()) -> str:
    """`open.bat`: opens the case in ITK-SNAP, or else in 3D Slicer, from their usual folders; CRLF line ends."""
    return _START_WINDOWS.format(files=_snap_files(item_id, "\\", readings)).replace("\n", "\r\n")


def unix_starter(item_id: str, *, readings: Sequence[str] = ()) -> str:
    """`open.sh`: the same for Linux and macOS."""
    return _START_UNIX.format(files=_snap_files(item_id, "/", readings))


def _snap_files(item_id: str, slash: str, readings: Sequence[str]) -> str:
    """ITK-SNAP's options: main image, segmentation, label descriptions, overlays (its main.cxx, versions 3 and 4)."""
    files = f'-g "{IMAGE_FILE}" -s "{package_mask(item_id)}" -l "..{slash}..{slash}{LABEL_TABLE}"'
    overlays = " ".join(f'"{reading_name(letter)}"' for letter in readings)
    return f"{files} -o {overlays}" if readings else files


def slicer_script(item_id: str, shown: tuple[float, float], *, readings: Sequence[str] = ()) -> str:
    """`open_in_slicer.py`: loads image, masks and colours, and fixes the grid, so that saving crops nothing."""
    low, high = shown
    return _START_SLICER.format(
        image=IMAGE_FILE,
        mask=package_mask(item_id),
        segmentation=package_mask(item_id, ".seg.nrrd"),
        colors=COLOR_TABLE,
        readings=[reading_name(letter) for letter in readings],
        width=f"{high - low:g}",
        level=f"{(low + high) / 2:g}",
    )


_START_WINDOWS = """\
@echo off
setlocal
cd /d "%~dp0"
set "SNAP="
set "SLICER="
for /d %%D in ("%ProgramFiles%\\ITK-SNAP*") do if exist "%%~D\\bin\\ITK-SNAP.exe" set "SNAP=%%~D\\bin\\ITK-SNAP.exe"
for /d %%D in ("%LOCALAPPDATA%\\slicer.org\\Slicer*") do if exist "%%~D\\Slicer.exe" set "SLICER=%%~D\\Slicer.exe"
for /d %%D in ("%LOCALAPPDATA%\\NA-MIC\\Slicer*") do if exist "%%~D\\Slicer.exe" set "SLICER=%%~D\\Slicer.exe"
if defined SNAP (
  start "" "%SNAP%" {files}
  exit /b 0
)
if defined SLICER (
  start "" "%SLICER%" --python-script open_in_slicer.py
  exit /b 0
)
echo ITK-SNAP was not found on this computer.
echo Install it from www.itksnap.org and double-click this file again.
pause
"""

_START_UNIX = """\
#!/bin/sh
# Opens this case in ITK-SNAP, or else in 3D Slicer.
cd "$(dirname "$0")" || exit 1
for snap in itksnap ITK-SNAP /Applications/ITK-SNAP.app/Contents/MacOS/ITK-SNAP; do
  if command -v "$snap" >/dev/null 2>&1; then
    exec "$snap" {files}
  fi
done
for slicer in Slicer /Applications/Slicer.app/Contents/MacOS/Slicer; do
  if command -v "$slicer" >/dev/null 2>&1; then
    exec "$slicer" --python-script open_in_slicer.py
  fi
done
echo "ITK-SNAP was not found on this computer."
echo "Install it from www.itksnap.org and start this file again."
exit 1
"""

_START_SLICER = """\
# Start: Slicer --python-script open_in_slicer.py
# Ctrl+S then saves the segmentation beside the image, under the name we expect back.
import os

import slicer

try:
    folder = os.path.dirname(os.path.abspath(__file__))
except NameError:
    folder = os.getcwd()

image = slicer.util.loadVolume(os.path.join(folder, "{image}"))
colors = slicer.util.loadColorTable(os.path.join(folder, "..", "..", "{colors}"))
saved = os.path.join(folder, "{segmentation}")
if os.path.exists(saved):
    segmentation = slicer.util.loadSegmentation(saved)
else:
    segmentation = slicer.util.loadSegmentation(os.path.join(folder, "{mask}"), {{"colorNodeID": colors.GetID()}})
    segmentation.AddDefaultStorageNode()
    segmentation.GetStorageNode().SetFileName(saved)
segmentation.SetReferenceImageGeometryParameterFromVolumeNode(image)

for name in {readings}:
    reading = slicer.util.loadSegmentation(os.path.join(folder, name), {{"colorNodeID": colors.GetID()}})
    reading.GetDisplayNode().SetVisibility2DFill(False)

display = image.GetDisplayNode()
display.AutoWindowLevelOff()
display.SetWindowLevel({width}, {level})
slicer.util.setSliceViewerLayers(background=image, fit=True)
slicer.util.selectModule("SegmentEditor")
editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
editor.setSegmentationNode(segmentation)
getattr(editor, "setSourceVolumeNode", getattr(editor, "setMasterVolumeNode", None))(image)
"""
