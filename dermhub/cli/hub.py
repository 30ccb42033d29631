"""The commands that talk to a hub: pull, push and space.

They import no torch, and numpy, pandas and yaml only when they run, so that --help is quick.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dermhub import files
from dermhub.errors import ConfigError
from dermhub.hub import client
from dermhub.hub.pins import Entry
from dermhub.layout import WEIGHTS
from dermhub.models import catalog
from dermhub.models.catalog import locate
from dermhub.own_folder import OwnFolder

if TYPE_CHECKING:
    from dermhub.hub.client import Pushed

SCRATCH = ".dermhub-pull-"
"""Start of the name of a folder in which a copy becomes whole; it lies beside the copy."""


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of pull, push and space."""
    pull = commands.add_parser("pull", help="fetch a model from the hub, and verify it")
    pull.add_argument(
        "model", metavar="ID", help="published model, or org/name[@revision] of the hub"
    )
    pull.add_argument(
        "--to", type=Path, metavar="DIR", help="copy it there; else it stays in the hub's cache"
    )
    pull.set_defaults(run=run_pull)

    push = commands.add_parser("push", help="publish model folders on the hub, as one commit each")
    push.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="for example model_cards/lesion"
    )
    push.add_argument(
        "--repo",
        required=True,
        metavar="USER/NAME",
        help="repository, made if there is none; in it {} stands for the name of the folder",
    )
    push.add_argument(
        "--private", action="store_true", help="a new repository that only you can see"
    )
    push.set_defaults(run=run_push)

    demo = commands.add_parser("space", help="publish the demo as a Hugging Face Space")
    demo.add_argument(
        "--repo", required=True, metavar="USER/NAME", help="Space; made if there is none"
    )
    demo.add_argument("--private", action="store_true", help="a new Space that only you can see")
    demo.set_defaults(run=run_space)


def run_pull(options: argparse.Namespace) -> int:
    """Print the folder of a verified model; with --to it is a copy."""
    # Imported here, as whatever imports numpy, pandas or yaml waits until it is needed.
    from dermhub.models.beside import files

    folder = locate(options.model)
    files.check(folder)
    if options.to is None:
        print(folder)
        return 0
    new = copy(folder, options.to)
    print(f"{options.to}: {'copied from' if new else 'already holds'} {options.model}")
    return 0


def run_push(options: argparse.Namespace) -> int:
    """Publish model folders that meet the checklist; print commits and catalogue entries.

    All folders are checked before the first is sent.
    """
    from dermhub.cards import checklist
    from dermhub.models.model_folder import ModelFolder

    names = [folder.resolve().name for folder in options.folders]
    repositories = [plain(options.repo.replace("{}", name)) for name in names]
    if len(set(repositories)) < len(names):
        raise ConfigError(
            f"--repo {options.repo} is the same for {len(names)} folders: put {{}} where the name "
            "of each belongs, as in user/dermhub-{}."
        )
    verified = [ModelFolder(folder) for folder in options.folders]
    for model in verified:
        checklist.check(model.path)
        model.check(WEIGHTS)
    for name, repository, model in zip(names, repositories, verified, strict=True):
        contents: dict[str, Path | bytes] = {**client.own_files(model.path)}
        pushed = client.push(contents, repository, "model", f"dermhub {name}", options.private)
        report(pushed, len(contents))
        task = model.config.task.name
        print(source(client.describe(model.path, name, repository, pushed.revision, task)))
    return 0


def run_space(options: argparse.Namespace) -> int:
    """Publish the demo with the files that it needs."""
    from dermhub.release import space

    repository = plain(options.repo)

    contents = space.contents(catalog.MODEL_CARDS.parent)
    pushed = client.push(contents, repository, "space", "dermhub demo", options.private)
    report(pushed, len(contents))
    return 0


def plain(repository: str) -> str:
    """Check the name of a repository, which must have no revision; raises ConfigError."""
    if not client.is_handle(repository) or "@" in repository:
        raise ConfigError(f"--repo is {repository!r}, expected user/name.")
    return client.parse(repository)[0]


def report(pushed: Pushed, count: int) -> None:
    """Print the result of a push."""
    if pushed.changed:
        print(f"{pushed.url}: {count} files, commit {pushed.revision}")
    else:
        print(
            f"{pushed.url}: already holds these {count} files, nothing sent (commit "
            f"{pushed.revision})"
        )


def copy(folder: Path, to: Path) -> bool:
    """Copy a model's files, all or none.

    Returns False when the folder holds them already. Raises ConfigError when it holds something
    else, or can't be written.
    """
    sources = client.model_files(folder)
    other = f"{to} holds something else: give another folder with --to, or remove it first."
    try:
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            if holds(to, sources):
                return False
            raise ConfigError(other)
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = OwnFolder(to.parent, SCRATCH)
        partial = scratch.path / "copy"
        try:
            partial.mkdir()
            for name, path in sources.items():
                (partial / name).parent.mkdir(exist_ok=True)
                # The content, for in the cache it is a symbolic link.
                shutil.copyfile(path, partial / name)
            partial.chmod(0o755)
            os.replace(partial, to)  # noqa: PTH105  (an empty folder may be there)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another process was faster.
            if holds(to, sources):
                return False
            raise ConfigError(other) from error
        finally:
            scratch.remove()
    except OSError as error:
        raise ConfigError(
            f"{to} can't be written ({error.strerror or error}): choose another folder."
        ) from error
    return True


def holds(folder: Path, sources: dict[str, Path]) -> bool:
    """Tell if a folder holds files with the same names and contents."""
    return all(
        (folder / name).is_file() and files.sha256(folder / name) == files.sha256(path)
        for name, path in sources.items()
    )


def source(entry: Entry) -> str:
    """Write an entry as Python, for `catalog.CATALOGUE`."""
    lines = [
        f'    "{entry.id}": Entry(',
        f'        id="{entry.id}",',
        f'        repository="{entry.repository}",',
        f'        revision="{entry.revision}",',
        "        files={",
        *(
            f'            "{name}": ("{sha256}", {size}),'
            for name, (sha256, size) in entry.files.items()
        ),
        "        },",
        f'        task="{entry.task}",',
        "    ),",
    ]
    return "\n".join(lines)
