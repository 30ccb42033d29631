"""Make the demo's images to try, demo/page/examples/*.jpg, and its icon anew.

    python docs/examples.py FOLDER

FOLDER holds HAM10000 as JPEG files of 256 x 256 pixels (the central square of each image), named by
their image id. Four images of the test split are copied as they are, a fifth is blurred, and the
sixth is a drawing. demo/page/examples/README.md says where they come from and under which licence.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

OUT = Path(__file__).resolve().parent.parent / "demo" / "page" / "examples"

COPIED = {
    "1-melanoma": "ISIC_0032976",
    "2-mole": "ISIC_0024598",
    "3-basal-cell-carcinoma": "ISIC_0030755",
    "4-keratosis": "ISIC_0033127",
}
"""Name of the file, from which the page makes its label -> image id; all are test images."""

BLURRED = ("5-blurred-melanoma", "ISIC_0033274", 2.2)
"""Name, image id, and the radius of the blur in pixels."""

DRAWN = "6-not-skin"


def draw_boat() -> Image.Image:
    """Draw a boat on the sea: a picture that is no dermatoscopic image."""
    image = Image.new("RGB", (256, 256), (188, 220, 242))
    pen = ImageDraw.Draw(image)
    pen.ellipse((196, 22, 232, 58), fill=(250, 214, 92))
    pen.rectangle((0, 176, 256, 256), fill=(44, 98, 150))
    for y in range(190, 256, 16):
        for x in range(-20 + y % 32, 256, 44):
            pen.arc((x, y, x + 22, y + 10), 200, 340, fill=(150, 190, 220), width=2)
    pen.line((128, 40, 128, 160), fill=(92, 64, 40), width=4)
    pen.polygon((134, 44, 134, 148, 196, 148), fill=(245, 245, 240))
    pen.polygon((122, 60, 122, 148, 78, 148), fill=(226, 84, 70))
    pen.polygon((60, 158, 200, 158, 176, 190, 84, 190), fill=(120, 82, 48))
    return image


def draw_icon() -> Image.Image:
    """Draw a mole under a lens, in the four-fold size for smooth edges."""
    image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.line((172, 172, 236, 236), fill=(30, 41, 59, 255), width=36)
    pen.ellipse((12, 12, 204, 204), fill=(247, 214, 196, 255), outline=(11, 92, 173, 255), width=20)
    pen.ellipse((66, 70, 150, 142), fill=(110, 62, 40, 255))
    pen.ellipse((92, 58, 158, 118), fill=(78, 42, 30, 255))
    return image.resize((64, 64), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the six images and the icon."""
    if len(sys.argv) != 2:
        raise SystemExit("expected the folder of HAM10000 at 256 x 256 pixels")
    source = Path(sys.argv[1])
    for name, image_id in COPIED.items():
        shutil.copyfile(source / f"{image_id}.jpg", OUT / f"{name}.jpg")
    name, image_id, radius = BLURRED
    with Image.open(source / f"{image_id}.jpg") as image:
        image.filter(ImageFilter.GaussianBlur(radius)).save(OUT / f"{name}.jpg", quality=85)
    draw_boat().save(OUT / f"{DRAWN}.jpg", quality=85)
    draw_icon().save(OUT.parent / "icon.png", optimize=True)
    for path in sorted(OUT.glob("*.jpg")):
        path.chmod(0o644)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
