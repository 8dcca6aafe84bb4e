"""Submissions to the servers of LoveDA and UAVid, checked against the test images.

If the name, mode or size of one file in a zip is wrong, the servers give 0 without a reason. So
the files are checked before and after they are written.

Sources: LoveDA, codabench.org/competitions/13030 (labels 0 to 6 as 8-bit gray PNG under the images'
names, all in the root of the zip); UAVid (RGB PNG of the frames' size under seqN/Labels/).
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from network.datasets.files import image_size, list_images, read_mask
from network.datasets.folder_jobs import replacing_folders
from network.datasets.info import LOVEDA, UAVID
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.failures import DAMAGED_ZIP
from network.progress import progress_bar
from network.writing import replacing

_UAVID_TEST = "uavid_test"


@dataclass(frozen=True)
class Server:
    """A server that scores submissions, and the form that it expects.

    Args:
        info: description of the data set.
        images: number of test images.
        mode: Pillow's mode of the masks: ``"L"`` for labels, ``"RGB"`` for colors.
        zip_only: whether the server accepts only a zip, no folder.
    """

    info: DatasetInfo
    images: int
    mode: str
    zip_only: bool

    def expected(self, root: Path) -> dict[str, Path]:
        """Find the test images, by the name of their mask in the submission."""
        if self.info is LOVEDA:
            found = [list_images(root / f.images) for f in LOVEDA.folders("test")]
            return {f"{stem}.png": path for images in found for stem, path in images.items()}
        return {
            f"{folder.parent.name}/Labels/{stem}.png": path
            for folder in _sequences(root / _UAVID_TEST)
            for stem, path in list_images(folder).items()
        }

    def predictions(self, folder: Path) -> dict[str, Path]:
        """Find the predicted masks, by their name in the submission."""
        if self.info is LOVEDA:
            return {f"{stem}.png": path for stem, path in list_images(folder).items()}
        found = {p.relative_to(folder).as_posix(): p for p in folder.glob("seq*/Labels/*.png")}
        if not found:
            raise InputError(folder, "no seqN/Labels/*.png", "give the folder with the sequences")
        return found


SERVERS = {
    "loveda": Server(LOVEDA, LOVEDA.image_counts["test"], "L", zip_only=True),
    "uavid": Server(UAVID, 150, "RGB", zip_only=False),
}


def _sequences(folder: Path) -> list[Path]:
    found = sorted(folder.glob("seq*/Images"))
    if not found:
        raise InputError(folder, "no seqN/Images in it", "give the data set as data_root=PATH")
    return found


def write_submission(
    server: Server, root: Path, predictions: Path, output: Path, any_count: bool = False
) -> int:
    """Write predicted masks as a zip, or for UAVid also as a folder, and check the result.

    Masks may hold labels or colors; they are converted to the form that the server expects.

    Args:
        server: the server.
        root: folder of the data set with its test images.
        predictions: folder of the masks.
        output: zip or folder to write.
        any_count: whether to accept another number of test images than the official one.

    Returns:
        The number of masks.

    Raises:
        InputError: names, sizes or labels are not those of the test images; nothing is written.
    """
    is_zip = output.suffix.lower() == ".zip"
    if server.zip_only and not is_zip:
        raise InputError(output, f"{server.info.name} takes a zip", "end the name in .zip")
    if not is_zip and output.exists():
        raise InputError(output, "is already there", "choose another output")
    expected = _expected(server, root, any_count)
    masks = server.predictions(predictions)
    _check_names(masks, expected, str(predictions))

    def encode(name: str) -> bytes:
        labels = read_mask(masks[name], server.info)
        _check_size(labels.shape, expected[name], str(masks[name]))
        ignored = int((labels == server.info.ignore_index).sum())
        if ignored:
            raise InputError(
                masks[name],
                f"{ignored} pixels have no class",
                "in a submission every pixel needs a class: predict again, and leave no pixel out",
            )
        if server.mode == "RGB":
            labels = cv2.cvtColor(server.info.to_rgb(labels), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", labels)[1].tobytes()

    files = _parallel(encode, sorted(masks), "Reading masks")
    if is_zip:
        with replacing(output) as partial:
            _write_zip(partial, files)
            _check_zip(server, expected, partial, shown=output)
        return len(masks)
    with replacing_folders(output) as (partial,):
        for name, content in files:
            _check_mask(server, content, expected[name], name)
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return len(masks)


def check_submission(server: Server, root: Path, path: Path, any_count: bool = False) -> int:
    """Check a finished zip as strictly as the server does, and count its masks.

    Args:
        server: the server.
        root: folder of the data set with its test images.
        path: the zip.
        any_count: whether to accept another number of test images than the official one.

    Returns:
        The number of masks.

    Raises:
        InputError: the server would give no score.
    """
    if not path.is_file():
        raise InputError(path, "no such file")
    return _check_zip(server, _expected(server, root, any_count), path, shown=path)


def _expected(server: Server, root: Path, any_count: bool) -> dict[str, Path]:
    expected = server.expected(root)
    if len(expected) != server.images and not any_count:
        raise InputError(
            root,
            f"{len(expected)} test images, {server.info.name} has {server.images}",
            "complete the Test folder, or give any_count=True",
        )
    return expected


def _check_names(found: Iterable[str], expected: Mapping[str, Path], where: str) -> None:
    found = list(found)
    names = set(found)
    if len(names) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InputError(where, f"{twice} comes twice", "write the zip anew")
    missing, extra = sorted(expected.keys() - names), sorted(names - expected.keys())
    if missing:
        raise InputError(
            where,
            f"no {missing[0]} ({len(missing)} of {len(expected)} test images have no "
            f"mask{f'; {len(extra)} other names, e.g. {extra[0]}' if extra else ''})",
            "predict the whole test split",
        )
    if extra:
        raise InputError(
            where, f"{extra[0]} is no test image ({len(extra)} such names)", "remove them"
        )


def _check_size(size: tuple[int, ...], image: Path, where: str) -> None:
    height, width = image_size(image)
    if size != (height, width):
        raise InputError(
            where,
            f"{size[0]} x {size[1]} pixels, its image {image} has {height} x {width}",
            "predict at full size",
        )


def _write_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG is already compressed
        for name, content in files:
            # With a fixed date, equal masks give equal zips.
            archive.writestr(zipfile.ZipInfo(name), content)


def _check_zip(server: Server, expected: Mapping[str, Path], path: Path, shown: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            nested = [name for name in names if "/" in name]
            if nested and server.zip_only:
                raise InputError(
                    shown,
                    f"{nested[0]} lies in a folder, so it would get the score 0",
                    "all masks belong in the root of the zip",
                )
            _check_names(names, expected, str(shown))
            contents = ((name, archive.read(name)) for name in names)
            for name, content in progress_bar(
                contents, total=len(names), desc="Checking", unit="mask"
            ):
                _check_mask(server, content, expected[name], f"{shown}: {name}")
    except DAMAGED_ZIP as error:
        # This includes encrypted files and unknown compression, which no server reads either.
        raise InputError(shown, f"not a zip, or damaged ({error})", "write it again") from error
    return len(names)


def _check_mask(server: Server, content: bytes, image: Path, where: str) -> None:
    try:
        with Image.open(io.BytesIO(content)) as mask:
            form, mode, pixels = mask.format, mask.mode, np.asarray(mask)
    except (OSError, SyntaxError) as error:
        raise InputError(where, "unreadable mask", "write the zip again") from error
    if (form, mode) != ("PNG", server.mode):
        raise InputError(
            where,
            f"{form} of mode {mode}, expected PNG of mode {server.mode}",
            "write the zip with tools/make_submission.py",
        )
    _check_size(pixels.shape[:2], image, where)
    if mode == "RGB":
        server.info.from_rgb(pixels, where)
    elif pixels.max() >= server.info.num_classes:
        raise InputError(
            where, f"label {pixels.max()}", f"expected 0 to {server.info.num_classes - 1}"
        )


def _parallel(
    encode: Callable[[str], bytes], names: list[str], text: str
) -> Iterator[tuple[str, bytes]]:
    with ThreadPoolExecutor() as pool:
        contents = progress_bar(pool.map(encode, names), total=len(names), desc=text, unit="mask")
        yield from zip(names, contents, strict=True)
