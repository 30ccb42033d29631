"""A real browser for the tests: Chromium, a demo with every state, and acts of a visitor."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dermhub
from demo.reading import reasons
from dermhub import layout
from dermhub.images import near_duplicates
from dermhub.images.drawn_lesions import draw
from dermhub.tasks import LESION
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
def models(
    trained: dict[str, Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of four models.

    The fast ones always hold two classes possible: the one that they name most often, so that they
    do decide, and melanoma (or nevus, where that is it). The accurate ones are as trained: on a few
    drawings, so that they can't decide on anything and always abstain.
    """
    lesion = dermhub.load(trained["lesion"])
    labels = [lesion.predict(path).label for path in sorted(tiny_data.glob("images/*"))]
    commonest = max(LESION.classes, key=labels.count)
    possible = {commonest, "nv" if commonest == "mel" else "mel"}
    folder = tmp_path_factory.mktemp("models-of-the-page")
    for task, path in trained.items():
        shutil.copytree(path, folder / f"{task}-accurate")
        shutil.copytree(path, folder / task)
    limits = {name: 0.0 if name in possible else 1.0 for name in LESION.classes}
    least = {"level": 0.9, "least": limits}
    for task, block in (("lesion", {"conformal": least}), ("binary", {})):
        path = folder / task / "config.json"
        content = json.loads(path.read_text())
        content["dermhub"] = {
            key: value for key, value in content["dermhub"].items() if key != "conformal"
        } | block
        path.write_text(json.dumps(content))
        add_file(
            folder / task,
            layout.SEEN,
            near_duplicates.build([learnt()], ["DRAWING"], ["train"]).to_bytes(),
        )
    return folder


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
def images(
    models: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """State -> an image that brings the fast models into it; "" stands for a confident answer."""
    folder = tmp_path_factory.mktemp("images-of-the-page")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)).save(
        folder / "noise.png"
    )
    learnt().save(folder / "learnt.png")
    for seed in range(50):
        draw(seed, (300, 200), seed % 11 / 10).save(folder / f"drawing-{seed}.png")
    binary, lesion = (dermhub.load(models / name) for name in ("binary", "lesion"))
    chosen: dict[str, Path] = {}
    for path in [*sorted(tiny_data.glob("images/*")), *sorted(folder.glob("*"))]:
        why = lesion.explain(path)
        given_reasons = reasons(binary.predict(path), why.prediction, why)
        chosen.setdefault(given_reasons[0].code if given_reasons else "", path)
    return chosen


@pytest.fixture
def open_page(chromium: Any, site: Demo) -> Iterator[Open]:
    """Opens the page: `open_page("phone", "dark")`.

    Errors in the page fail the test, and so do requests to others than the demo.
    """
    opened: list[tuple[Any, list[str], list[str]]] = []

    def open_one(size: str = "desktop", scheme: str = "light") -> Any:
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        asked: list[str] = []
        errors: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        opened.append((context, asked, errors))
        tab.goto(site.url)
        tab.get_by_text("The answer appears here.").wait_for()
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


def confirm(page: Any) -> None:
    """Tick the box without which there is no answer."""
    page.locator("#understood input").check()


def upload(page: Any, path: Path) -> None:
    """Choose a file, as a click on the upload area does; remove the image that is there first."""
    if page.locator("#image input[type=file]").count() == 0:
        clear(page)
    page.locator("#image input[type=file]").set_input_files(path)


def upload_several(page: Any, paths: list[Path]) -> None:
    """Choose files on the tab for several images, and wait until the server has them."""
    page.get_by_role("tab", name="Several").click()
    page.locator("#files input[type=file]").set_input_files(paths)
    page.wait_for_function(
        "count => document.querySelectorAll('#files tr.file').length === count", arg=len(paths)
    )


def clear(page: Any) -> None:
    """Remove the image."""
    page.locator("#image").get_by_label("Clear").or_(
        page.locator("#image").get_by_label("Remove")
    ).first.click()


def answered(page: Any) -> Any:
    """Wait until an answer or a worded state is there, and return where it stands."""
    page.locator("#answer .derm").wait_for()
    return page.locator("#answer")


def fits(page: Any) -> bool:
    """Tell whether nothing of the page lies beyond its width."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@contextmanager
def held_back(page: Any, pattern: str) -> Iterator[None]:
    """The browser's requests that match wait until the end of the block."""
    waiting: list[Any] = []
    page.route(pattern, lambda route: waiting.append(route))
    yield
    for route in waiting:
        route.continue_()
    page.unroute(pattern)
