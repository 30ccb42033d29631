"""The command line of the oracle; see the package's own docstring."""

from __future__ import annotations

import argparse
import difflib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.oracle import api, bad_input, commands, packaging, training
from tests.support.oracle.place import Place, Recorded

PARTS: dict[str, Callable[[Place], Recorded]] = {
    "help": commands.record_help,
    "space": packaging.record_space,
    "verify": commands.record_verify,
    "cards": commands.record_cards,
    "wheel": packaging.record_wheel,
    "tiny-run": training.record_tiny_run,
    "answers": commands.record_answers,
    "api": api.record_api,
    "commands": commands.record_commands,
    "bad-input": bad_input.record_bad_input,
}
"""The parts of a recording, the quick ones first."""


def record(project: Path, folder: Path, names: Sequence[str]) -> int:
    """Record the parts; one that fails is told on stderr, leaves no file, and makes it return 1."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in names:
        target, start = folder / f"{name}.json", time.perf_counter()
        target.unlink(missing_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix="oracle-")).resolve()
        try:
            place = Place(project.resolve(), temporary)
            part = PARTS[name](place)
        except Exception as error:
            # The others are recorded all the same.
            print(f"{name}: failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        seconds = round(time.perf_counter() - start, 1)
        slowest = sorted(place.slowest, reverse=True)[:5]
        content = {
            **{"found": part.answers, "notes": part.notes},
            **{"seconds": seconds, "slowest": slowest},
        }
        target.write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(f"{name}: recorded in {seconds} s", flush=True)
    return int(failed)


def compare(folders: Sequence[Path], names: Sequence[str], shown: int) -> int:
    """Print "same" or a diff of at most `shown` lines; returns 1 when anything differs."""
    differs = False
    for name in names:
        paths = [folder / f"{name}.json" for folder in folders]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            print(f"{name}: MISSING: {', '.join(missing)}")
            differs = True
            continue
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        before, after = (
            json.dumps(item["found"], indent=1, ensure_ascii=False) for item in (old, new)
        )
        if before == after:
            print(f"{name}: same")
        else:
            differs = True
            names_of = [str(path) for path in paths]
            both = before.splitlines(), after.splitlines()
            lines = list(difflib.unified_diff(*both, names_of[0], names_of[1], lineterm=""))
            print(f"{name}: DIFFERENT, {sum(one[0] in '+-' for one in lines) - 2} lines")
            print("\n".join(lines[:shown]))
            if len(lines) > shown:
                print(f"... and {len(lines) - shown} more lines of the diff")
        for key in sorted({*old["notes"], *new["notes"]}):
            was, now = old["notes"].get(key), new["notes"].get(key)
            if was != now:
                print(f"  note: {key}: {was} -> {now}")
    return int(differs)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.oracle",
        description="Record what users of dermhub meet, or compare two recordings.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record", help="record what users meet into a folder")
    recording.add_argument("--project", type=Path, required=True, metavar="CHECKOUT")
    recording.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    comparing = actions.add_parser("compare", help="compare two recordings")
    comparing.add_argument("folders", type=Path, nargs=2, metavar="FOLDER")
    comparing.add_argument(
        "--lines", type=int, default=80, help="most lines of a diff (default: 80)"
    )
    for item in (recording, comparing):
        item.add_argument(
            "--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="NAME"
        )
    given = parser.parse_args()
    if given.action == "record":
        return record(given.project, given.to, given.only)
    return compare(given.folders, given.only, given.lines)


if __name__ == "__main__":
    sys.exit(main())
