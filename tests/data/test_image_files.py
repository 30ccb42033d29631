"""Images of a folder: what counts as one, what is passed over and said, and the ids of a table."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from dermhub.data import image_files
from dermhub.data.image_files import Places
from dermhub.errors import DataError
from dermhub.images.drawn_lesions import draw
from tests.support.tiny import Command

JPEG = b"\xff\xd8\xff\xe0 not looked at"

Capture = pytest.CaptureFixture[str]


def make(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    """Write small files of these names below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in image_files.find(folder)]


def test_every_suffix_that_is_read_when_named_is_taken(tmp_path: Path, capsys: Capture) -> None:
    given = ["a.jpg", "b.JFIF", "c.jpe", "d.gif", "e.mpo", "f.dib", "g.apng", "h.Tiff", "i.webp"]
    given += ["j.HEIC", "k.heif", "l.avif", "m.dcm"]
    make(tmp_path, *given)
    make(tmp_path, "notes.txt", "labels.csv", "Thumbs.db", "LICENSE", content=b"no image")
    assert names(tmp_path) == given
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("._a.jpg", "of other programs (hidden, thumbnails, copies) passed over (._a.jpg)"),
        (".ipynb_checkpoints/a-checkpoint.jpg", "passed over (.ipynb_checkpoints)"),
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "passed over (@eaDir)"),
        ("__MACOSX/._a.jpg", "passed over (__MACOSX)"),
        ("sub/@EADIR/thumb.jpg", "passed over (sub/@EADIR)"),
        ("#recycle/a.jpg", "passed over (#recycle)"),
        ("b.jpg/c.jpg", "folder(s) called like an image passed over (b.jpg)"),
        ("b.NEF", "file(s) in formats that are not read passed over: save them as JPEG or PNG"),
        ("b.zip", "archive(s) passed over: unpack what you need (b.zip)"),
        ("IMG_1", "image(s) without an image's ending passed over: rename them (.jpg, .dcm)"),
        ("b.jpg_large", "image(s) without an image's ending passed over: rename them"),
    ],
)
def test_what_is_passed_over_is_counted_and_named(
    tmp_path: Path, capsys: Capture, name: str, reason: str
) -> None:
    make(tmp_path, "a.jpg", name)
    assert names(tmp_path) == ["a.jpg"]
    err = capsys.readouterr().err
    assert err.startswith(f"dermhub: {tmp_path}: 1 ")
    assert err.count("\n") == 1
    assert reason in err


def test_a_few_names_are_enough(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path, "a.jpg", *(f"._{n}.jpg" for n in range(5)))
    image_files.find(tmp_path)
    assert "5 file(s) or folder(s) of other programs" in (err := capsys.readouterr().err)
    assert err.endswith("(._0.jpg, ._1.jpg, ._2.jpg and 2 more).\n")


def test_hidden_folders_without_images_are_not_mentioned(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path, "a.jpg", ".git/config", ".DS_Store")
    assert names(tmp_path) == ["a.jpg"]
    assert capsys.readouterr().err == ""


def test_the_folder_itself_may_be_called_as_it_likes(tmp_path: Path) -> None:
    for name in (".cache", "@eaDir", "photos.jpg"):
        assert names(make(tmp_path / name, "a.jpg")) == ["a.jpg"]


def test_a_dicom_file_without_a_suffix_is_named_as_an_image(
    tmp_path: Path, capsys: Capture
) -> None:
    make(tmp_path, "IM0001", content=bytes(128) + b"DICM" + bytes(300))
    make(tmp_path, "a.jpg")
    image_files.find(tmp_path)
    assert "1 image(s) without an image's ending passed over: rename" in capsys.readouterr().err


def test_linked_folders_are_entered_once(tmp_path: Path, capsys: Capture) -> None:
    disk = make(tmp_path / "disk", "1.jpg", "deep/2.jpg")
    data = make(tmp_path / "data", "0.jpg", "own/3.jpg")
    (data / "part_1").symlink_to(disk)
    (data / "part_2").symlink_to(disk)
    (data / "again").symlink_to(disk / "deep")
    # Links to folders that are here anyway add nothing: their images keep their own paths.
    (data / "a_link").symlink_to(data / "own")
    (disk / "back").symlink_to(data)
    assert names(data) == ["0.jpg", "again/2.jpg", "own/3.jpg", "part_1/1.jpg"]
    assert capsys.readouterr().err == ""


def test_circles_and_links_out_of_the_folder_are_not_entered(
    tmp_path: Path, capsys: Capture
) -> None:
    data = make(tmp_path / "data", "0.jpg")
    make(tmp_path, "secret.jpg")
    (data / "self").symlink_to(data)
    (data / "up").symlink_to("..")
    (data / "loop").symlink_to("loop")
    (data / "lost").symlink_to(tmp_path / "not mounted")
    assert names(data) == ["0.jpg"]
    err = capsys.readouterr().err
    assert "1 link(s) to a folder above not entered (up)" in err
    assert "2 folder(s) or link(s) that can't be entered (loop, lost)" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    assert names(tmp_path) == ["a.jpg"]
    assert "1 folder(s) or link(s) that can't be entered (closed)" in capsys.readouterr().err


def test_a_line_break_in_a_name_breaks_no_sentence(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path, "a.jpg", "._b\nc.jpg")
    image_files.find(tmp_path)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_commands_use_the_same_rule(
    command: Command, tiny_lesion_model: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("a.jfif", "sub/b.gif")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kind = "JPEG" if name.endswith("jfif") else "GIF"
        draw(number, (72, 64), 0.5).save(tmp_path / name, kind)
    make(tmp_path, "._a.jpg", "@eaDir/a.jpg/x.jpg")
    options = ("--model", tiny_lesion_model, "--images", tmp_path)
    code, out, err = command("predict", "--model", tiny_lesion_model, tmp_path, "--format", "csv")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "2 file(s) or folder(s) of other programs" in err
    code, out, _ = command("predict", *options, "--out", tmp_path / "out" / "s.csv")
    assert "2 files, 2 of them scored now" in out
    (tmp_path / "l.csv").write_text("image_id,dx\na,nv\nsub/b,mel\n")
    code, out, err = command("evaluate", *options, "--labels", tmp_path / "l.csv")
    assert (code, '"n": 2,' in out) == (0, True), err


def one(folder: Path, image_id: str) -> str | None:
    """The path that an id means, below the folder."""
    (path,) = Places(folder).match([image_id])
    return None if path is None else path.relative_to(folder).as_posix()


def test_ids_may_name_folders(tmp_path: Path) -> None:
    make(tmp_path / "i", "Aaa/Aaa01.jpg", "Bbb/Bbb02.jpg", "Bbb/deep/c.png")
    for image_id in ("Aaa/Aaa01", "i/Aaa/Aaa01", "Aaa01", "/content/drive/Aaa/Aaa01", "aaa/AAA01"):
        assert one(tmp_path / "i", image_id) == "Aaa/Aaa01.jpg", image_id
    assert one(tmp_path / "i", "Aaa\\Aaa01") == "Aaa/Aaa01.jpg"
    assert one(tmp_path / "i", r"C:\data\Bbb\deep\c") == "Bbb/deep/c.png"
    assert one(tmp_path / "i", "Aaa/Bbb02x") is None


def test_folders_of_ids_decide_where_names_repeat(tmp_path: Path) -> None:
    make(tmp_path, "p1/1.jpg", content=JPEG + b"1")
    make(tmp_path, "p2/1.jpg", content=JPEG + b"2")
    paths = Places(tmp_path).match(["p1/1", "p2/1", "p3/1"])
    assert [path and path.parent.name for path in paths] == ["p1", "p2", None]


def test_folders_of_ids_that_were_renamed_do_not_matter_where_names_are_unique(
    tmp_path: Path,
) -> None:
    make(tmp_path, "images/a.jpg", "images/b.jpg")
    paths = Places(tmp_path).match(["ISIC_Input/a", "ISIC_Input/b"])
    assert [path and path.name for path in paths] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("length", ["same", "other"])
def test_equal_names_are_told_apart_by_content(tmp_path: Path, length: str) -> None:
    make(tmp_path, "p1/1.bmp", content=b"BM first")
    make(tmp_path, "p2/1.bmp", content=b"BM other" if length == "same" else b"BM another")
    with pytest.raises(DataError) as caught:
        one(tmp_path, "1")
    assert str(caught.value) == (
        f"{tmp_path / 'p1' / '1.bmp'} and {tmp_path / 'p2' / '1.bmp'} differ but have one name, "
        "and so one image id: rename or remove one, or give ids with their folders, such as p2/1."
    )
    # A table that names its folders knows which is meant, and other ids are not concerned.
    assert one(tmp_path, "p2/1") == "p2/1.bmp"
    make(tmp_path, "2.bmp")
    assert one(tmp_path, "2") == "2.bmp"


def test_copies_with_one_name_are_one_image(tmp_path: Path) -> None:
    make(tmp_path, "part/1.jpg", "PART/1.jpg")
    assert one(tmp_path, "1") == "PART/1.jpg"


def test_the_case_of_a_name_matters_only_where_two_names_differ_by_it(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", content=JPEG + b"a")
    assert one(tmp_path, "A") == "a.jpg"
    make(tmp_path, "A.jpg", content=JPEG + b"A")
    if len(list(tmp_path.iterdir())) == 2:
        assert (one(tmp_path, "A"), one(tmp_path, "a")) == ("A.jpg", "a.jpg")


@pytest.mark.parametrize("of_file", ["NFC", "NFD"])
@pytest.mark.parametrize("of_id", ["NFC", "NFD"])
def test_ids_match_in_any_normal_form(tmp_path: Path, of_file: str, of_id: str) -> None:
    name = "Übung ä²"
    make(tmp_path, unicodedata.normalize(of_file, name) + ".jpg")  # type: ignore[arg-type]
    assert one(tmp_path, unicodedata.normalize(of_id, name)) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(("file", "image_id"), [("x2", "x²"), ("strasse", "straße"), ("fi", "ﬁ")])
def test_letters_that_only_look_or_sound_alike_are_others(
    tmp_path: Path, file: str, image_id: str
) -> None:
    make(tmp_path, f"{file}.jpg")
    assert one(tmp_path, image_id) is None
    assert one(tmp_path, file) == f"{file}.jpg"


@pytest.mark.parametrize("image_id", ["./a", ".//sub/a", "././a", "/a", ".\\sub\\a"])
def test_the_beginning_of_a_path_makes_no_difference(tmp_path: Path, image_id: str) -> None:
    make(tmp_path, "sub/a.jpg")
    assert one(tmp_path, image_id) == "sub/a.jpg"


def test_images_that_no_id_means_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "sub/a.jpg", "p/1.jpg", "c.jpg")
    make(tmp_path, "q/1.jpg", content=JPEG + b"other")
    places = Places(tmp_path)
    places.match(["a", "p/1"])
    # sub/a is a copy of a, and a row that is not wanted here names b.
    assert places.unnamed(["B"]) == ["c.jpg", "q/1.jpg"]


def test_two_ids_can_not_mean_one_file(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=r"The image ids a and A mean one file, .*a\.jpg: keep one"):
        Places(tmp_path).match(["a", "A"])


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names there are Unicode")
def test_names_in_the_code_page_of_windows(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"R\xfccken.jpg"), "images\\b.jpg")
    (path,) = Places(tmp_path).match(["Rücken"])
    assert path is not None
    assert os.fsencode(path.name) == b"R\xfccken.jpg"
    # As some programs unpack an archive that was made on Windows.
    assert one(tmp_path, "images/b") == one(tmp_path, "b") == "images\\b.jpg"


def test_the_folder_of_an_id_is_heeded_where_it_is_there(tmp_path: Path) -> None:
    make(tmp_path, "A/002.jpg", "B/001.jpg")
    matched = Places(tmp_path).match(["A/001", "A/002", "C/001"])
    # No image 001 lies in A; there is no folder C, so that its image may lie anywhere.
    assert matched == [None, tmp_path / "A" / "002.jpg", None]
    assert Places(tmp_path).match(["C/001"]) == [tmp_path / "B" / "001.jpg"]
