"""Images below a folder: a single rule for every command, and a table's ids matched with files.

A name that begins with a dot and a folder of another program (`OF_PROGRAMS`) are left out, and so
are folders that are called like an image. Folders that are links are entered, each once. All that
is left out or can't be entered is counted and named on stderr.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dermhub.errors import DataError, note, some
from dermhub.images.unreadable_files import HEAD, kind_of

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".jfif", ".jpe", ".jif", ".pjpeg", ".pjp", ".mpo", ".apng", ".dib"),
    *(".heic", ".heif", ".hif", ".avif", ".dcm", ".dicom"),
)
"""Endings of the names of images, in lower case.

They are all that Pillow gives `decode.FORMATS`, and those of `images.optional`.
"""

UNREAD = (
    *(".jp2", ".j2k", ".jpx", ".jxl", ".psd", ".svg", ".tga"),
    *(".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raf", ".rw2", ".svs"),
)
"""Endings of pictures in formats that are not read."""

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")

TEXTS = (".csv", ".tsv", ".tab", ".txt", ".json", ".xml", ".md", ".html", ".py", ".ipynb", ".log")
"""Endings of files that are no images; others are looked into, so that none is lost."""

OF_PROGRAMS = frozenset(
    {"@eadir", "__macosx", "#recycle", "#snapshot", "@recycle", "$recycle.bin", "lost+found"}
)
"""Folders of file servers and archives, in lower case. Synology's @eaDir holds thumbnails."""

LONGEST = 80
"""Letters of a name that is passed over which are shown."""

HIDDEN = "file(s) or folder(s) of other programs (hidden, thumbnails, copies) passed over"
CALLED_LIKE_IMAGES = "folder(s) called like an image passed over"
NOT_READ = "file(s) in formats that are not read passed over: save them as JPEG or PNG"
PACKED = "archive(s) passed over: unpack what you need"
WITHOUT_SUFFIX = "image(s) without an image's ending passed over: rename them (.jpg, .dcm)"
CLOSED = "folder(s) or link(s) that can't be entered"
OUTSIDE = "link(s) to a folder above not entered"


def find(folder: Path) -> list[Path]:
    """List every image below a folder, sorted, and say on stderr what was passed over.

    A path is the folder with the names below it, also where these are links. Raises DataError for
    a folder without images and for a folder that can't be entered.
    """
    if not folder.is_dir():
        raise no_folder(folder)
    passed: dict[str, list[str]] = {}
    paths = sorted(_walk(folder, passed))
    for reason, names in passed.items():
        note(f"{folder}: {len(names)} {reason} ({some(map(_shown, sorted(names)), 3)}).")
    if not paths:
        raise _no_images(folder)
    return paths


def check_any(folder: Path) -> None:
    """Raise DataError for a folder without images, and where there is no such folder."""
    if not folder.is_dir():
        raise no_folder(folder)
    if not holds_any(folder):
        raise _no_images(folder)


def holds_any(folder: Path) -> bool:
    """Tell if there is an image below a folder."""
    return next(_walk(folder, {}), None) is not None


def entries(folder: Path) -> list[Path]:
    """List what lies directly in a folder and belongs to no other program, sorted."""
    return sorted(path for path in folder.iterdir() if not _is_hidden(path.name))


def without_suffix(name: str) -> str:
    """Take the ending of an image, or of a picture that is not read, off a name or an id."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in (*SUFFIXES, *UNREAD) else name


def plain(name: str) -> str:
    """Return a name or an id in Unicode's normal form C, with "/" between its folders.

    macOS writes names in form D, Windows writes "\\", and old archives have names in Windows' code
    page, which arrive as bytes that are no UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("cp1252", "replace")
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def id_of(name: str) -> str:
    """Return the id that a cell of a table names: `plain`, without "./" and an image's ending."""
    return without_suffix(re.sub(r"^(?:\./+)+", "", plain(name)))


def loose(name: str) -> str:
    """Return a name in a form in which its spellings in any case are equal.

    Composed and decomposed letters count as the same, and no others do: "x²" is not "x2".
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())


def check_files(paths: Sequence[Path]) -> None:
    """Raise DataError for links that lead nowhere, and for pipes, which would never end."""
    if broken := [path for path in paths if not path.is_file()]:
        raise DataError(
            f"{len(broken)} of {len(paths)} images are links that lead nowhere, or no files "
            f"({some(broken)}): put the images there."
        )


def same_content(first: Path, second: Path) -> bool:
    """Tell if two files hold the same bytes; only ordinary files of one length are read."""
    if not (first.is_file() and second.is_file()):
        return False
    if first.stat().st_size != second.stat().st_size:
        return False
    if first.samefile(second):
        return True
    with first.open("rb") as one, second.open("rb") as other:
        while chunk := one.read(1 << 20):
            if chunk != other.read(1 << 20):
                return False
    return True


class Places:
    """The images below a folder by the ids that a table gives them.

    An id is a file's name without its ending, in any of Unicode's normal forms and, where no file
    has it letter by letter, in any case. It may begin with folders ("sub/a"): as many as the table
    likes, of the path below the folder or of the folder itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = Path(os.path.abspath(folder))  # noqa: PTH100
        self._by_name: dict[str, list[Path]] = {}
        self._named: set[Path] = set()
        self._folders: set[tuple[str, ...]] = set()
        for path in find(folder):
            self._by_name.setdefault(loose(_stem(path)), []).append(path)
            above = tuple(map(loose, path.relative_to(folder).parts[:-1]))
            self._folders.update(above[start:] for start in range(len(above)))

    def match(self, ids: Sequence[str]) -> list[Path | None]:
        """Return the file of each id, None for an id without.

        Copies of a file with one name are one image, of which the first in sorted order is taken:
        the Kaggle copy of HAM10000 holds each folder twice, in two spellings. Raises DataError
        where files of one name differ, and where two ids mean one file.
        """
        names = Counter(loose(name.rpartition("/")[2]) for name in map(plain, ids))
        paths = [self._file(plain(name), names) for name in ids]
        owners: dict[Path, str] = {}
        for name, path in zip(ids, paths, strict=True):
            if path is not None and owners.setdefault(path, name) != name:
                raise DataError(
                    f"The image ids {owners[path]} and {name} mean one file, {path}: keep one of "
                    "them, or give the folder above."
                )
        return paths

    def unnamed(self, ids: Iterable[str] = ()) -> list[str]:
        """List the images that no id meant in `match` so far, and that none of `ids` is called.

        Copies of an image that was meant are not among them. Paths are those below the folder.
        """
        others = {loose(plain(name).rpartition("/")[2]) for name in ids}
        paths = (
            path
            for name, paths in self._by_name.items()
            for path in paths
            if name not in others and path not in self._named
        )
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    def _file(self, image_id: str, names: Counter[str]) -> Path | None:
        name = image_id.rpartition("/")[2]
        paths = self._by_name.get(loose(name), [])
        parts = [part for part in image_id.split("/") if part not in ("", ".", "..")]
        if len(parts) > 1:
            by_folder = [path for path in paths if self._is_in(path, parts)]
            # Without two images of one name their folders tell nothing apart, unless the folder
            # that the id names is there and has no such image.
            elsewhere = names[loose(name)] == 1 and not self._is_folder(parts[:-1])
            paths = by_folder or (paths if elsewhere else [])
        paths = [path for path in paths if _stem(path) == name] or paths
        for path in paths[1:]:
            if not same_content(paths[0], path):
                raise DataError(
                    f"{paths[0]} and {path} differ but have one name, and so one image id: rename "
                    "or remove one, or give ids with their folders, such as "
                    f"{without_suffix(plain(path.relative_to(self.folder).as_posix()))}."
                )
        self._named.update(paths)
        return paths[0] if paths else None

    def _is_folder(self, parts: list[str]) -> bool:
        """Tell if images lie in folders that are named like those of an id."""
        return tuple(map(loose, parts)) in self._folders

    def _is_in(self, path: Path, parts: list[str]) -> bool:
        """Tell if the folders of an id are the last ones of a path, or go on where it begins."""
        below = path.relative_to(self.folder)
        wanted = list(map(loose, parts))
        inner = [loose(part) for part in without_suffix(plain(below.as_posix())).split("/")]
        whole = [*map(loose, self._root.parts), *inner]
        if whole[-len(wanted) :] == wanted:
            return True
        return len(inner) > 1 and wanted[-len(inner) :] == inner


def no_folder(folder: Path) -> DataError:
    """Return the error for a folder that is not there, or that is a file."""
    if folder.is_file():
        return DataError(f"{folder} is a file: give the folder that holds the images.")
    return DataError(f"There is no folder {folder}: give the folder that holds the images.")


def _no_images(folder: Path) -> DataError:
    return DataError(
        f"{folder} holds no images ({', '.join(SUFFIXES)}): give the folder that holds them."
    )


def _shown(name: str) -> str:
    """Return a name as Python writes it, so that a line break breaks no line; its end if long."""
    text = repr(name)[1:-1]
    return text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"


def _stem(path: Path) -> str:
    # Some archives unpack to files whose names hold the folders, as in "sub\\a.jpg".
    return without_suffix(plain(path.name).rpartition("/")[2])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in OF_PROGRAMS


def _walk(folder: Path, passed: dict[str, list[str]]) -> Iterator[Path]:
    """Yield the images below a folder; names that are passed over are added under a reason."""
    root = folder.resolve()
    entered: set[tuple[int, int | str]] = set()
    waiting = deque([folder])
    # Links wait until all else is done, so that images that also lie here keep their own paths.
    links: deque[Path] = deque()
    while waiting or links:
        here = waiting.popleft() if waiting else links.popleft()
        try:
            status = here.stat()
            # Some network shares number no files.
            identity = (status.st_dev, status.st_ino or str(here.resolve()))
            if identity in entered:
                continue
            entered.add(identity)
            with os.scandir(here) as listing:
                inside = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if here == folder:
                raise DataError(
                    f"{folder} can't be entered ({error.strerror or error}): give a folder that "
                    "can be read."
                ) from None
            passed.setdefault(CLOSED, []).append(here.relative_to(folder).as_posix())
            continue
        for entry in inside:
            path = here / entry.name
            suffix = path.suffix.lower()
            is_folder = _is_folder(entry)
            reason = _reason(entry, suffix, is_folder)
            if reason:
                passed.setdefault(reason, []).append(path.relative_to(folder).as_posix())
            elif is_folder and not _is_hidden(entry.name):
                if not entry.is_symlink():
                    waiting.append(path)
                elif root.is_relative_to(path.resolve()) and root != path.resolve():
                    passed.setdefault(OUTSIDE, []).append(path.relative_to(folder).as_posix())
                else:
                    links.append(path)
            elif suffix in SUFFIXES and not is_folder:
                yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _reason(entry: os.DirEntry[str], suffix: str, is_folder: bool) -> str:
    """Say why an entry of a folder is passed over, if somebody could miss it; "" otherwise."""
    if _is_hidden(entry.name):
        holds_images = _holds_images(entry.path) if is_folder else suffix in SUFFIXES
        return HIDDEN if holds_images else ""
    if is_folder:
        return CALLED_LIKE_IMAGES if suffix in SUFFIXES else ""
    if suffix in UNREAD:
        return NOT_READ
    if suffix in ARCHIVES:
        return PACKED
    if suffix in SUFFIXES or suffix in TEXTS:
        return ""
    if not os.path.exists(entry.path):  # noqa: PTH110
        return CLOSED
    kind = _kind(entry.path)
    if kind.endswith("that is damaged or cut short"):
        return WITHOUT_SUFFIX
    return NOT_READ if "image" in kind else ""


def _holds_images(folder: str) -> bool:
    names: Iterable[str] = (name for _, _, inside in os.walk(folder) for name in inside)
    return any(Path(name).suffix.lower() in SUFFIXES for name in names)


def _kind(path: str) -> str:
    """Name what a file is by its first bytes, without advice; "" for a pipe or an unknown kind."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113
            return ""
        with open(path, "rb") as stream:  # noqa: PTH123
            return kind_of(stream.read(HEAD)).partition(":")[0]
    except OSError:
        return ""
