"""Passwords in a real browser: a form, the page behind it, and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import PATIENCE, answered, upload
from tests.support.demo_process import serve

pytestmark = pytest.mark.browser


def test_a_visitor_logs_in_asks_and_logs_out(
    chromium: Any, models: Path, images: dict[str, Path], tmp_path: Path
) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text("anna:secret\n")
    accounts.chmod(0o600)
    options = ("--binary", models / "binary", "--lesion", models / "lesion")
    with serve(tmp_path / "home", *options, "--auth-file", accounts) as site:
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(site.url)
        page.get_by_label("User").fill("anna")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").get_by_text("Incorrect credentials.").wait_for()
        page.get_by_label("User").fill("anna")
        page.get_by_label("Password").fill("secret")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Drop a dermatoscopic image here").wait_for()
        upload(page, images["low"])
        assert "suspici" in answered(page).inner_text().lower()
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        page.goto(f"{site.url}/logout")
        page.get_by_role("button", name="Log out").click()
        page.get_by_text("You have logged out.").wait_for()
        assert context.cookies() == []
        page.goto(site.url)
        page.get_by_label("Password").wait_for()
        context.close()
