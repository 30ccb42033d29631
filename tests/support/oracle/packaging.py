"""Shipped parts: the wheel and what it can do without PyTorch, and the files of the Space."""

from __future__ import annotations

import shutil
import zipfile

from tests.support.oracle.place import Place, Recorded, git_files
from tests.support.oracle.probes import sha256


def record_wheel(place: Place) -> Recorded:
    """Record what a wheel of the checkout holds, and what it can do without PyTorch."""
    source, built, unpacked = (place.temporary / name for name in ("source", "built", "unpacked"))
    tracked = [
        name
        for name in git_files(place.project)
        if not name.startswith(("model_cards/", "docs/", "tests/"))
    ]
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place.project / name, source / name)
    building = (
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        built,
    )
    done = place.run(*building, source, cwd=place.temporary)
    if done["code"]:
        raise RuntimeError("No wheel could be built:\n" + "\n".join(done["stderr"]))
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    files = sorted(
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    )
    package = [name for name in files if name.startswith("dermhub/")]
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    partitions = sorted(unpacked.rglob("partition.csv"))
    photo = place.temporary / "photos"
    place.probe("draw", photo)
    asked = (place.models / "lesion", photo / "photo.jpg")
    light = place.probe("light", *asked, "blocked", path=unpacked)
    blocked = place.probe("modules", "blocked", path=unpacked)
    whole = place.probe("modules", "all", path=unpacked)
    answers = {
        "name": wheel.name,
        "tracked files that it lacks": sorted(
            {name for name in tracked if name.startswith("dermhub/")} - set(package)
        ),
        "files that git does not know": sorted(set(package) - set(tracked)),
        "top level": sorted({name.split("/")[0] for name in files}),
        "partition.csv": [sha256(path.read_bytes()) for path in partitions],
        "metadata": metadata.read_text(encoding="utf-8").split("\n\n")[0].splitlines(),
        "public names": place.probe("names", path=unpacked),
        "without PyTorch, timm and pandas": light,
        "with everything, modules that can't be imported": whole["failed"],
        "after predict": place.probe(
            "loaded", "predict", asked[1], "--model", asked[0], "--format", "json", path=unpacked
        ),
    }
    notes = {
        "modules": sum(name.endswith(".py") for name in package),
        "other files": [name for name in package if not name.endswith(".py")],
        "modules that need PyTorch, timm or pandas": sorted(blocked["failed"]),
        "entry points": [p.read_text() for p in unpacked.glob("*.dist-info/entry_points.txt")],
    }
    return Recorded(answers, notes)


def record_space(place: Place) -> Recorded:
    """Record whether the Space would hold every file of dermhub/ and demo/, and what else."""
    listed = place.probe("space", place.project)
    # As the answer of a probe, with the old path of the partition.
    tracked = [place.plain(name) for name in git_files(place.project)]
    code = [name for name in tracked if name.startswith(("dermhub/", "demo/"))]
    answers = {
        "tracked files that it lacks": sorted(set(code) - set(listed)),
        "files of dermhub and demo that git does not know": sorted(
            {name for name in listed if name.startswith(("dermhub/", "demo/"))} - set(code)
        ),
        "others": [name for name in listed if not name.startswith(("dermhub/", "demo/"))],
    }
    return Recorded(answers, {"files of dermhub and demo": len(code)})
