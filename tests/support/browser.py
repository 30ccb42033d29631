"""A real browser for the tests: Chromium, a demo with every state, and acts of a visitor."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import dermhub
from demo.models import Pair
from demo.reading import record
from dermhub import layout
from dermhub.images import near_duplicates
from dermhub.images.drawn_lesions import draw
from dermhub.models.ood_gate import OodGate
from tests.support.cases import add_index
from tests.support.demo_process import Demo, serve
from tests.support.tiny import add_file

PATIENCE = 60_000
"""Milliseconds that a loaded machine gets for an answer."""

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)
"""Chromium as root, which asks nobody for anything on its own."""

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by playwright."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here: install it to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*QUIET, "--disable-sync", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of every kind: drawn lesions, noise, and the one that the models know."""
    folder = tmp_path_factory.mktemp("drawings")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)).save(
        folder / "noise.png"
    )
    learnt().save(folder / "learnt.png")
    draw(3, (300, 200), 0.5).filter(ImageFilter.GaussianBlur(3)).save(folder / "blurred.png")
    for seed in range(40):
        draw(seed, (300, 200), seed % 11 / 10).save(folder / f"drawing-{seed}.png")
    return sorted(folder.glob("*"))


@pytest.fixture(scope="session")
def models(
    trained: dict[str, Path], drawings: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of four models: standard ones that know one training image, and larger ones.

    The cuts are set so that a third of the drawings lies in each zone.
    """
    folder = tmp_path_factory.mktemp("models-of-the-page")
    answers = (dermhub.load(trained[task]).predict(iter(drawings)) for task in ("binary", "lesion"))
    scores = [dermhub.assess(*pair).malignancy for pair in zip(*answers, strict=True)]
    cuts = np.quantile(scores, [1 / 3, 2 / 3])
    for task, path in trained.items():
        for name in (task, f"{task}-accurate"):
            shutil.copytree(path, folder / name)
            _set_cuts(folder / name / "config.json", *cuts.tolist())
        _widen_gate(folder / task)
        if task == "lesion":
            add_index(folder / task)
        add_file(
            folder / task,
            layout.SEEN,
            near_duplicates.build([learnt()], ["DRAWING"], ["train"]).to_bytes(),
        )
    return folder


def _widen_gate(folder: Path) -> None:
    """Let the gate of a model that saw small drawings pass larger ones, but still no noise."""
    gate = OodGate.from_bytes((folder / layout.OOD_GATE).read_bytes(), layout.OOD_GATE)
    wider = dataclasses.replace(gate, scales=gate.scales * 4)
    add_file(folder, layout.OOD_GATE, wider.to_bytes())


def _set_cuts(config: Path, lower: float, upper: float) -> None:
    content = json.loads(config.read_text())
    next(iter(content["dermhub"]["thresholds"].values()))["value"] = lower
    content["dermhub"]["zones"] = {
        "highly_suspicious": {"value": upper, "aim": "at least 70%", "split": "validation"}
    }
    config.write_text(json.dumps(content))


def learnt() -> Image.Image:
    """The one image that the fast models of the page know as a training image."""
    return draw(59, (300, 200), 0.4)


@pytest.fixture(scope="session")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One server for all browser tests."""
    home = tmp_path_factory.mktemp("home-of-the-page")
    with serve(home, "--binary", models / "binary", "--lesion", models / "lesion") as running:
        yield running


@pytest.fixture(scope="session")
def images(models: Path, drawings: list[Path]) -> dict[str, Path]:
    """State -> an image that brings the standard models into it.

    States are the three zones, of images that are not refused, "refused", and the codes of reasons.
    """
    pair = Pair(dermhub.load(models / "binary"), dermhub.load(models / "lesion"))
    chosen: dict[str, Path] = {}
    for path in drawings:
        answer: Any = record(pair, path.read_bytes())
        codes = {reason["code"] for reason in answer["reasons"]}
        for code in codes:
            chosen.setdefault(code, path)
        if answer["refused"]:
            chosen.setdefault("refused", path)
        elif not codes & {"quality", "seen"}:
            chosen.setdefault(answer["zone"], path)
    return chosen


@pytest.fixture
def open_page(chromium: Any, site: Demo) -> Iterator[Open]:
    """Opens the page: `open_page("phone", "dark")`; "narrow" is 320 pixels wide.

    Errors in the page fail the test, and so do requests to others than the demo.
    """
    opened: list[tuple[Any, list[str], list[str]]] = []

    def open_one(size: str = "desktop", scheme: str = "light", **options: Any) -> Any:
        width, height = SIZES.get(size, (320, 640))
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        asked: list[str] = []
        errors: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        opened.append((context, asked, errors))
        tab.goto(site.url)
        tab.locator("#image input[type=file]").wait_for(state="attached")
        return tab

    yield open_one
    # pytest shows them where the test failed.
    print("The server's last lines:", *site.lines[-10:], sep="\n")
    of_the_demo = re.compile(rf"({re.escape(site.url)}/|data:|blob:)")
    for context, asked, errors in opened:
        context.close()
        assert asked
        assert [url for url in asked if not of_the_demo.match(url)] == []
        assert errors == []


def upload(page: Any, path: Path) -> None:
    """Choose a file, as a click on the upload area does; go back to that area first."""
    if page.locator("#image input[type=file]").count() == 0:
        clear(page)
    page.locator("#image input[type=file]").set_input_files(path)


def upload_several(page: Any, paths: list[Path]) -> None:
    """Choose files on the tab for several images, and wait until the server has them."""
    page.get_by_role("tab", name="Many images").click()
    page.locator("#files input[type=file]").set_input_files(paths)
    page.wait_for_function(
        "count => document.querySelectorAll('#files tr.file').length === count", arg=len(paths)
    )


def clear(page: Any) -> None:
    """Go back to the upload area, as a visitor does."""
    page.locator("#answer [data-do=another]:visible").last.click()
    page.locator("#image input[type=file]").wait_for(state="attached")


def answered(page: Any) -> Any:
    """Wait until an answer is shown, and return it."""
    page.locator("html[data-check=answer]").wait_for(state="attached")
    return page.locator("#answer [data-current] .derm-answer")


def checked(page: Any) -> Any:
    """Wait until a check of many images is complete, and return its table."""
    page.locator("#table [data-current] table").wait_for()
    return page.locator("#table [data-current]")


def fits(page: Any) -> bool:
    """Tell whether nothing of the page lies beyond its width."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def slow_line(page: Any, latency: int) -> None:
    """Let every answer of the server come so many milliseconds later."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    speed = {"latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
    line.send("Network.emulateNetworkConditions", {"offline": False, **speed})


@contextmanager
def held_back(page: Any, pattern: str) -> Iterator[None]:
    """The browser's requests that match wait until the end of the block."""
    waiting: list[Any] = []
    page.route(pattern, lambda route: waiting.append(route))
    yield
    for route in waiting:
        route.continue_()
    page.unroute(pattern)
