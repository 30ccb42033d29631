"""The lock of a run's folder: a single process trains in it at a time."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from dermhub.errors import ConfigError, program, some

LOCK = ".lock"
"""Name of the locked file in a run's folder. It stays there: a lock belongs to the open file."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks, such as an NFS share without its lock service."""


def check_free(out: Path, names: Iterable[str]) -> None:
    """Raise ConfigError for a folder with files of these names that no run has written.

    A folder in which a run has begun, if only to prepare, holds its lock.
    """
    lock = out / LOCK
    if lock.is_file() and not lock.stat().st_size:
        return
    there = [name for name in names if (out / name).exists() or (out / name).is_symlink()]
    if there:
        raise ConfigError(
            f"{out} holds {some(there)}, and is no folder of a run: the run would write over it; "
            "give another folder with --out."
        )


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if need be.

    The system gives the lock up when the process ends, however that happens. A run that ends before
    its folder holds anything else leaves nothing behind. Raises ConfigError at once where another
    process holds the lock, where another file is in its place, and where the folder can't be
    written.
    """
    # Imported here, because --help and wrong options do without it.
    import filelock

    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    path = out / LOCK
    is_new = not (path.exists() or path.is_symlink())
    if path.is_file() and path.stat().st_size:
        # Some versions of the library would empty it.
        raise ConfigError(
            f"{path} is not the lock of a run, which is empty: give another folder with --out."
        )
    # Whoever may write in the folder may go on with the run, also where others began it.
    lock = filelock.FileLock(path, mode=0o664)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"Another process is training in {out}: wait until it is done, or give another folder "
            "with --out."
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            _remove_empty(made)
            raise ConfigError(
                f"{out} can't be written ({error.strerror or error}): choose a folder that can be "
                "written and has space."
            ) from error
        print(
            f"{program('train.py')}: {out} can't be locked ({error.strerror}): make sure that no "
            "other process trains there.",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        # While the lock is held: the next process may begin the folder as soon as it is given up.
        with contextlib.suppress(OSError):
            if is_new and [entry.name for entry in out.iterdir()] == [LOCK]:
                path.unlink()
                _remove_empty(made)
        lock.release()


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
