"""Recognition of training images: detection of changed copies, and false alarms.

    PYTHONPATH=. python benchmarks/near_duplicates.py --data HAM

The threshold of `dermhub.images.near_duplicates` was chosen by the first two tables, which read
training and validation images alone; the last one then counts false alarms on images that had no
part in the choice. Prints Markdown.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from dermhub.data import image_files, partition, tables
from dermhub.errors import DermhubError
from dermhub.images import near_duplicates
from dermhub.images.decode import to_rgb
from dermhub.tasks import LESION

Change = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG compression."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return to_rgb(stream.getvalue())


def square(image: Image.Image) -> Image.Image:
    """The central square."""
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """The image in another size."""
    return image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def cut(image: Image.Image, share: float) -> Image.Image:
    """The image without a margin: `share` of the width and height is kept."""
    x = image.width * (1 - share) / 2
    y = image.height * (1 - share) / 2
    return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))


def transposed(turn: Image.Transpose) -> Change:
    """Return the change that turns or mirrors an image."""
    return lambda image: image.transpose(turn)


CHANGES: dict[str, Change] = {
    "none": lambda image: image,
    **{turn.name.lower(): transposed(turn) for turn in Image.Transpose},
    "half the size": lambda image: scaled(image, 0.5),
    "three times the size": lambda image: scaled(image, 3),
    "4000 x 3000 pixels": lambda image: image.resize((4000, 3000), Image.Resampling.BICUBIC),
    "central square, 224 pixels": lambda image: square(image).resize(
        (224, 224), Image.Resampling.LANCZOS
    ),
    "stretched to 224 x 224 pixels": lambda image: image.resize(
        (224, 224), Image.Resampling.BICUBIC
    ),
    "turned and stretched": lambda image: image.transpose(Image.Transpose.ROTATE_90).resize(
        (224, 224)
    ),
    "padded to a square": lambda image: ImageOps.pad(image, (224, 224)),
    "JPEG 90": lambda image: jpeg(image, 90),
    "JPEG 60": lambda image: jpeg(image, 60),
    "JPEG 30": lambda image: jpeg(image, 30),
    "square, turned, 112 pixels, JPEG 60": lambda image: jpeg(
        square(image)
        .transpose(Image.Transpose.ROTATE_90)
        .resize((112, 112), Image.Resampling.BICUBIC),
        60,
    ),
    "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "30 % more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred, radius 1.5 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "cut to 97 %": lambda image: cut(image, 0.97),
    "cut to 90 % (not meant to be found)": lambda image: cut(image, 0.90),
    "turned by 2 degrees (not meant to be found)": lambda image: image.rotate(
        2, Image.Resampling.BICUBIC
    ),
}


def lesions(table: pd.DataFrame) -> NDArray[np.str_]:
    """(N,) lesion of each image, the two ids of one lesion made one."""
    return np.asarray(partition.canonical(table["lesion_id"]), str)


def nearest(
    manifest: near_duplicates.SeenImages, table: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distances of each image of the manifest to the nearest one of another lesion, and of its own.

    The latter is 999 where its lesion has no other image.
    """
    of = lesions(table)
    other = np.full(len(of), 999)
    sibling = np.full(len(of), 999)
    words = np.ascontiguousarray(manifest.bits.view(np.uint64).T)
    for index, path in enumerate(table["path"]):
        coefficients = near_duplicates.transform(to_rgb(path))
        assert coefficients is not None
        views = near_duplicates.symmetries(coefficients).view(np.uint64)
        distances = near_duplicates.distances(words, views).min(axis=0)
        same = of == of[index]
        other[index] = distances[~same].min()
        same[index] = False
        sibling[index] = distances[same].min(initial=999)
    return other, sibling


def quantiles(values: NDArray[np.int64]) -> str:
    """A row of a table: number, smallest, quantiles, and number within the threshold."""
    quantiles = (f"{np.quantile(values, q):.0f}" for q in (0.001, 0.01, 0.1, 0.5))
    within = int((values <= near_duplicates.THRESHOLD).sum())
    return " | ".join(map(str, [len(values), values.min(), *quantiles, within]))


def detection(manifest: near_duplicates.SeenImages, table: pd.DataFrame, count: int) -> list[str]:
    """Rows of the table of changes, for `count` training images drawn at random.

    Each has the share of them that are recognised, the number of those taken for another, and the
    distances.
    """
    drawn = table[table["split"] == "train"].sample(count, random_state=0)
    images = [
        (name, to_rgb(path)) for name, path in zip(drawn["image_id"], drawn["path"], strict=True)
    ]
    rows = []
    for title, change in CHANGES.items():
        right = []
        wrong = 0
        for name, image in images:
            match = manifest.find(near_duplicates.hashes(change(image)))
            if match is None:
                continue
            if match.image_id == name:
                right.append(match.distance)
            else:
                wrong += 1
        middle, most = (round(float(np.quantile(right, q))) for q in (0.5, 1))
        rows.append(f"| {title} | {len(right) / count:.4f} | {wrong} | {middle} | {most} |")
    return rows


def alarms(manifest: near_duplicates.SeenImages, paths: list[Path]) -> tuple[int, int, list[str]]:
    """The number of images, that of alleged copies among them, and the first few of those."""
    copies = []
    for path in paths:
        match = manifest.find(near_duplicates.hashes(to_rgb(path)))
        if match is not None:
            copies.append(f"{path.stem} = {match.image_id} ({match.distance})")
    return len(paths), len(copies), copies[:4]


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="HAM", help="folder of HAM10000"
    )
    parser.add_argument(
        "--others", type=Path, nargs="*", default=[], metavar="DIR", help="folders of other images"
    )
    parser.add_argument(
        "--copies",
        type=Path,
        metavar="DIR",
        help="a folder of HAM10000's images in another version",
    )
    parser.add_argument("--count", type=int, default=1000, help="training images that are changed")
    options = parser.parse_args()
    table = tables.read_table(options.data, LESION)
    learnt = table[table["split"] != "test"]
    start = time.perf_counter()
    manifest = near_duplicates.build(
        map(to_rgb, learnt["path"]), list(learnt["image_id"]), list(learnt["split"])
    )
    content = manifest.to_bytes()
    print(f"{len(learnt)} images, {len(content)} bytes, {time.perf_counter() - start:.0f} s\n")

    other, sibling = nearest(manifest, learnt)
    print(
        "| training and validation | n | smallest | 0.1 % | 1 % | 10 % | median | within the "
        "threshold |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(f"| nearest image of another lesion | {quantiles(other)} |")
    print(f"| nearest image of the same lesion | {quantiles(sibling[sibling < 999])} |\n")

    print("| change | found | another named | median distance | largest |\n|---|---|---|---|---|")
    print("\n".join(detection(manifest, learnt, options.count)), "\n")

    print("| images | n | said to be copies | rate | the first |\n|---|---|---|---|---|")
    test = table[table["split"] == "test"]
    unseen = {"HAM10000, test split": [Path(path) for path in test["path"]]}
    unseen |= {folder.name: image_files.find(folder) for folder in options.others}
    for title, paths in unseen.items():
        count, copies, first = alarms(manifest, paths)
        print(f"| {title} | {count} | {copies} | {copies / count:.5f} | {'; '.join(first)} |")
    if options.copies:
        print("\n" + other_version(manifest, table, options.copies))


def other_version(manifest: near_duplicates.SeenImages, table: pd.DataFrame, folder: Path) -> str:
    """Count the matches of HAM10000's images in another version, by split."""
    split = dict(zip(table["image_id"], table["split"], strict=True))
    counts: dict[tuple[bool, str], int] = {}
    for path in image_files.find(folder):
        name = path.stem
        match = manifest.find(near_duplicates.hashes(to_rgb(path)))
        named = "none" if match is None else "itself" if match.image_id == name else "another"
        key = (split[name] != "test", named)
        counts[key] = counts.get(key, 0) + 1
    parts = [
        f"{'seen' if seen else 'test'} images of which {named} is named: {count}"
        for (seen, named), count in sorted(counts.items())
    ]
    return f"{folder.name}: {'; '.join(parts)}"


if __name__ == "__main__":
    try:
        main()
    except DermhubError as error:
        raise SystemExit(f"near_duplicates.py: {error}") from None
