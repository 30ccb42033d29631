"""Uploads: the files of one folder are read, and no other path of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.read_upload import Uploads
from dermhub import ImageError


def test_only_uploads_are_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    uploads = Uploads(tmp_path / "in")
    for path in (
        tmp_path / "secret",
        tmp_path / "in" / "link",
        tmp_path / "in" / ".." / "secret",
        "/etc/passwd",
    ):
        with pytest.raises(
            ImageError, match=r"^No file was uploaded: expected an image, sent as a file\.$"
        ):
            uploads.content(str(path))
    with pytest.raises(
        ImageError, match=r"^The server has deleted this image, as it does with every upload"
    ):
        uploads.content(str(tmp_path / "in" / "gone.png"))
    with pytest.raises(ImageError, match=r"^The server could not take this file"):
        uploads.content(str(tmp_path / "in"))
