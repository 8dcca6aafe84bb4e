"""HTML page of a diagnosis with findings, classes and thumbnails, in one file."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from network.datasets.checks.doctor import Diagnosis, Examined
from network.datasets.files import read_mask, read_photo
from network.datasets.thumbnails import mask_uri, photo_uri
from network.errors import InputError
from network.writing import replacing

THUMBNAIL = 128
IMAGES_PER_SPLIT = 48
TEMPLATES = Path(__file__).with_name("templates")


def write_contact_sheet(diagnosis: Diagnosis, splits: Sequence[str], path: Path) -> None:
    """Write an HTML page that shows every image with findings, and some of the others.

    Args:
        diagnosis: result of the examination.
        splits: splits to show.
        path: the HTML file to write.

    Raises:
        InputError: the file cannot be written.
    """
    info = diagnosis.info
    sections = []
    for split in splits:
        images = diagnosis.of_split(split)
        counts = diagnosis.pixels(split)
        valid = max(1, counts[:-1].sum())
        classes = [
            {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color), "share": 100 * n / valid}
            for name, color, n in zip(info.classes, info.palette, counts, strict=False)
        ]
        shown = [_card(diagnosis, image) for image in _selection(images)]
        sections.append({"name": split, "count": len(images), "classes": classes, "shown": shown})
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    page = environment.get_template("contact_sheet.html").render(
        title=f"{info.name} in {diagnosis.root}", findings=diagnosis.findings, sections=sections
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _selection(images: Sequence[Examined]) -> list[Examined]:
    """Choose the images with findings, and others that are evenly spread over the split."""
    step = max(1, len(images) // IMAGES_PER_SPLIT)
    return [image for i, image in enumerate(images) if image.findings or i % step == 0]


def _card(diagnosis: Diagnosis, image: Examined) -> dict:
    pictures = []
    try:
        pictures.append(photo_uri(read_photo(image.image, diagnosis.info), THUMBNAIL))
        for path in list(image.masks.values())[:1]:
            colored = diagnosis.info.to_rgb(read_mask(path, diagnosis.info))
            pictures.append(mask_uri(colored, THUMBNAIL))
    except InputError:
        pass  # already among its findings
    return {"name": image.image.name, "pictures": pictures, "findings": image.findings}
