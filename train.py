"""Train a model: python train.py --task binary | lesion.

The recipe, top to bottom: options -> data -> model -> epochs -> choose on validation -> test once
-> card. Everything lands in one folder; `runs/<name>/model` is a model folder that `dermhub.load`
and timm read.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from dermhub import __version__, files
from dermhub.errors import ConfigError, DermhubError
from dermhub.training import distributed
from dermhub.training.config import TrainConfig

if TYPE_CHECKING:
    from dermhub.training.fit import Fit

CONFIG = "train_config.json"


def options(arguments: list[str] | None = None) -> tuple[TrainConfig, Path, bool]:
    """The configuration, the folder of the run, and whether it is resumed. Options are
    TrainConfig's fields.
    """
    parser = argparse.ArgumentParser(
        description="Fine-tune a timm CNN on dermatoscopic images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    hints = get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        choices = get_args(hints[field.name]) or None
        kind = str if choices else hints[field.name]
        name = f"--{field.name.replace('_', '-')}"
        help_text = str(field.metadata["help"]).replace("%", "%%")
        parser.add_argument(name, type=kind, choices=choices, default=field.default, help=help_text)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run in this folder; takes no other option",
    )
    given = sys.argv[1:] if arguments is None else arguments
    values = vars(parser.parse_args(given))
    resumed = values.pop("resume")
    if resumed is None:
        config = TrainConfig(**values)
        name = f"{config.task}-{config.model.replace('/', '-')}-{config.seed}"
        return config, Path(config.out or Path("runs") / name), False
    if given not in (["--resume", resumed], [f"--resume={resumed}"]):
        raise ConfigError(
            "--resume goes on with the run's own options: give no other option beside it."
        )
    folder = Path(resumed)
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} is not the folder of a run: it has no {CONFIG}.")
    try:
        return TrainConfig.from_json(files.read_json(folder / CONFIG)["options"]), folder, True
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder / CONFIG} is not what train.py wrote ({error}): start a new run."
        ) from error


def main() -> None:
    """Train, evaluate and write the model folder."""
    config, out, resumed = options()
    if not resumed and distributed.is_main() and (out / CONFIG).exists():
        raise ConfigError(
            f"{out} already holds a run: go on with --resume {out}, or give another folder with "
            "--out."
        )
    # Only now the heavy imports: options and --help answer at once.
    from dermhub.data import partition
    from dermhub.evaluation import plots, summary
    from dermhub.release import finish
    from dermhub.training import cpu

    cpu.keep_memory()
    with distributed.main_process_first():
        fit = prepare(config, out, resumed)
    with distributed.process_group():
        distributed.check_same((recipe(fit.config), partition.fingerprint(fit.table)))
        fit.run()

    if distributed.is_main():
        begun = files.read_json(out / CONFIG)
        content = finish.finish(
            fit, out / "model", provenance(fit.config, begun, fit.history, fit.table)
        )
        plots.curves(out / "curves.png", fit.history)
        print(f"{out / 'model'}: {summary.headline(content)}")


def prepare(config: TrainConfig, out: Path, resumed: bool) -> Fit:
    """Read the data, make the model, and begin the folder of the run or go back to where it was
    stopped.
    """
    import torch

    from dermhub.data import additions, kaggle, partition
    from dermhub.data import tables as data_tables
    from dermhub.evaluation import plots, summary
    from dermhub.images.view import InputSpec
    from dermhub.models import backbone
    from dermhub.models.catalog import locate
    from dermhub.tasks import TASKS
    from dermhub.training import transfer
    from dermhub.training.fit import Fit
    from dermhub.training.state import STATE

    task = TASKS[config.task]
    if config.data.startswith(kaggle.PREFIX):
        handle = kaggle.parse(config.data)
        folder = kaggle.download(handle)
        # The run and its card name the version, also where the newest was asked for.
        config = dataclasses.replace(config, data=kaggle.PREFIX + kaggle.pinned(handle, folder))
    else:
        folder = Path(config.data) if config.data else kaggle.download()
    table = data_tables.read_table(folder, task)
    # A model that was trained without the images of --extra saw no lesion that is held out here,
    # either.
    tables = {partition.fingerprint(table)}
    if partition.overlap(table) is None and distributed.is_main():
        print(
            "The data name no lesions: photographs of one may stand in training and test, and "
            "figures be too high."
        )
    if config.extra:
        table, left_out = additions.add_images(table, Path(config.extra), task)
        if distributed.is_main():
            print(
                f"{config.extra}: {len(additions.added_rows(table))} more training images, "
                f"{left_out} left out"
            )
    if config.sharper:
        table, copies, left_out = additions.add_sharper(table, Path(config.sharper))
        if distributed.is_main():
            print(
                f"{config.sharper}: sharper copies of {copies} training images, {left_out} left out"
            )
    table_sha256 = partition.fingerprint(table)
    tables.add(table_sha256)
    torch.manual_seed(config.seed)
    sizes = (config.model, len(task.classes), config.dropout, config.drop_path)
    if config.init == "scratch" or (resumed and (out / STATE).exists()):
        model = backbone.build(*sizes)  # a run with a saved state has its weights there
    elif config.init == "pretrained":
        model = backbone.pretrained(*sizes)
    elif Path(config.init).is_file() or config.init.endswith(".safetensors"):
        transfer.check_file(Path(config.init), tables)
        model = backbone.from_file(Path(config.init), *sizes)
    else:
        model = transfer.initialise(locate(config.init), config, tables)
    teachers = [locate(name) for name in transfer.model_names(config.teacher, "teacher")]
    mixed = [locate(name) for name in transfer.model_names(config.soup, "soup")]
    others = (
        transfer.load_teachers(teachers, config, tables),
        transfer.load_soup(mixed, config, tables),
    )
    fit = Fit(model, table, config, InputSpec(config.size, config.crop_mode), out, *others)
    facts = {
        "table_sha256": table_sha256,
        **({"sharper_sha256": additions.sharper_fingerprint(table)} if config.sharper else {}),
        **{
            name: transfer.describe_models(places)
            for name, places in (("teachers", teachers), ("soup", mixed))
            if places
        },
    }
    if not resumed and distributed.is_main():
        data_tables.check_images(table, "test")
        start = {"options": dataclasses.asdict(config), "revision": revision(), **facts}
        files.write_json(out / "data.json", summary.describe(table, task))
        plots.overview(out / "data.png", table)
        # Written last: from here on the folder is that of a run, and --resume finds all of it.
        files.write_json(out / CONFIG, start)
    if resumed:
        begun = files.read_json(out / CONFIG)
        if any(begun.get(name) != value for name, value in facts.items()):
            places = " or ".join(
                filter(
                    None, (str(folder), config.extra, config.sharper, config.teacher, config.soup)
                )
            )
            raise ConfigError(
                f"The data in {places} changed since {out} was begun: start a new run with --out."
            )
        fit.resume()
    return fit


def recipe(config: TrainConfig) -> dict[str, Any]:
    """The options that decide what comes out: without places and processes."""
    from dermhub.data import kaggle
    from dermhub.models.catalog import display_name
    from dermhub.training import transfer

    told = dataclasses.asdict(config)
    told.update(
        {name: told[name] and display_name(told[name]) for name in ("init", "extra", "sharper")}
    )
    for name in ("teacher", "soup"):
        told[name] = ",".join(display_name(one) for one in transfer.model_names(told[name], name))
    for name in ("out", "workers", "device"):
        told.pop(name)
    if not config.data.startswith(kaggle.PREFIX):
        # A folder's place says nothing to others, and is theirs to choose; a dataset of Kaggle is
        # part of the recipe.
        told.pop("data")
    return told


def provenance(
    config: TrainConfig, begun: dict[str, Any], history: list[dict[str, Any]], table: Any
) -> dict[str, Any]:
    """Where a model comes from: data, code, options, environment and cost; it holds no path of the
    machine.
    """
    import torch

    from dermhub.data import kaggle, partition
    from dermhub.models import backbone

    source = f"kaggle: {config.data.removeprefix(kaggle.PREFIX) or kaggle.HAM10000}"
    if not config.data.startswith(kaggle.PREFIX):
        source = Path(config.data).resolve().name if config.data else source
    return {
        "data": {
            "source": source,
            # The card says that such a run was divided by the shipped partition, so a split column
            # must agree with it.
            "ham10000_lesions": by_partition(table),
            "images": len(table),
            "lesions": int(table["lesion_id"].nunique()),
            "table_sha256": begun["table_sha256"],
            "partition_sha256": partition.shipped_hash(),
            **_more(config, table),
        },
        "code": {"dermhub": __version__, "revision": begun.get("revision", "unknown")},
        "options": recipe(config),
        **{name: begun[name] for name in ("sharper_sha256", "teachers", "soup") if name in begun},
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": backbone.version(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        # Medians: an epoch beside other work says nothing of the others.
        "epoch_seconds": round(statistics.median(row["seconds"] for row in history), 1),
        "images_per_second": round(
            statistics.median(row["images_per_second"] for row in history), 1
        ),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _more(config: TrainConfig, table: Any) -> dict[str, Any]:
    """What is told of the images of --extra, beside those that are counted with all others."""
    from dermhub.data import additions

    if not config.extra:
        return {}
    rows = additions.added_rows(table)
    counts = {str(dx): int(n) for dx, n in rows["dx"].value_counts().sort_index().items()}
    return {"extra": {"source": Path(config.extra).name, "images": len(rows), "dx": counts}}


def by_partition(table: Any) -> bool:
    """Whether validation and test lesions are of HAM10000, and all that are of it in the shipped
    partition's split.
    """
    from dermhub.data import partition

    places = table["lesion_id"].map(partition.shipped())
    return bool(((places == table["split"]) | (places.isna() & (table["split"] == "train"))).all())


def revision() -> str:
    """The git revision of the code, with a mark when it has changes that are not committed."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


if __name__ == "__main__":
    try:
        main()
    except DermhubError as error:
        if distributed.reports_errors():
            print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if distributed.is_main():
            print(
                "\ntrain.py: stopped; --resume RUN goes on after the last complete epoch.",
                file=sys.stderr,
            )
        sys.exit(130)
