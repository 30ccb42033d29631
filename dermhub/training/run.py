"""The steps of train.py: inputs of a run, its models, its folder, and its provenance."""

from __future__ import annotations

import dataclasses
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from dermhub import __version__, files
from dermhub.data import additions, kaggle, partition, tables
from dermhub.errors import ConfigError, ModelError, note
from dermhub.evaluation import plots, predictions, summary
from dermhub.images.view import InputSpec
from dermhub.models import backbone
from dermhub.models.catalog import display_name, locate
from dermhub.models.config import ModelConfig
from dermhub.models.model_folder import ModelFolder
from dermhub.tasks import TASKS
from dermhub.training import distributed, image_hashes, initial_weights, transfer
from dermhub.training.config import DESCRIPTION, OVERVIEW, RUN_CONFIG, STATE, TrainConfig
from dermhub.training.fit import Fit


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run: its options, its images, and the models that it learns from.

    `config` names the version of a dataset of Kaggle, also where the newest was asked for. `folder`
    holds the data, and `table` the images with those of `--extra`. `tables` are the hashes of the
    table without and with `--extra`, and of its held-out images alone: a model with one of them in
    its config saw no lesion that is held out here. `teachers` are model folders.
    """

    config: TrainConfig
    folder: Path
    table: pd.DataFrame
    tables: frozenset[str]
    teachers: tuple[Path, ...]


def read_inputs(config: TrainConfig) -> Inputs:
    """Read the data, and locate the models of `--teacher`.

    Raises DataError, LeakError, ImageError, DownloadError, ModelError and ConfigError for inputs
    that can't be used.
    """
    config, folder = _locate_data(config)
    with distributed.one_voice():
        # The option may be meant for the table of --extra.
        table = tables.read_table(
            folder, TASKS[config.task], config.columns, bool(config.extra), note
        )
        note(f"{folder}\n{tables.tree(table)}")
    if partition.overlap(table) is None:
        unnamed = f"{_without_lesion(table):,} of {len(table):,} images are of unknown lesions"
        name = unnamed if _without_lesion(table) < len(table) else "The data name no lesions"
        _say(f"{name}: photographs of one may stand in training and test, and figures be too high.")
    hashes = {partition.fingerprint(table)}
    table = _with_additions(table, config)
    hashes |= {partition.fingerprint(table), partition.held_out_fingerprint(table)}
    return Inputs(
        config,
        folder,
        table,
        frozenset(hashes),
        tuple(locate(name) for name in transfer.teacher_names(config.teacher)),
    )


def _locate_data(config: TrainConfig) -> tuple[TrainConfig, Path]:
    """The options with the version of a dataset of Kaggle, and the folder of the data."""
    if not config.data:
        return config, kaggle.download()
    if not config.data.startswith(kaggle.PREFIX):
        return config, Path(config.data)
    handle = kaggle.parse(config.data)
    folder = kaggle.download(handle)
    pinned = kaggle.PREFIX + kaggle.pinned(handle, folder)
    return dataclasses.replace(config, data=pinned), folder


def _with_additions(table: pd.DataFrame, config: TrainConfig) -> pd.DataFrame:
    if not config.extra:
        return table
    with distributed.one_voice():
        table, left_out = additions.add_all(
            table, additions.folders(config.extra), TASKS[config.task], config.columns, note
        )
    count = len(additions.added_rows(table))
    _say(f"{config.extra}: {count} more training images, {left_out} left out")
    return table


def _say(line: str) -> None:
    if distributed.is_main():
        print(line)


def build(inputs: Inputs, out: Path, resumed: bool) -> Fit:
    """Build a run's models and its training loop; nothing is written yet.

    Raises ModelError and ConfigError for models that don't fit, LeakError for one that may have
    seen the lesions that are held out, and DownloadError.
    """
    config = inputs.config
    torch.manual_seed(config.seed)
    # The weights of a run with a saved state are there.
    saved = resumed and (out / STATE).exists()
    model, spec = _initial_model(inputs, "scratch" if saved else config.init)
    if resumed:
        spec = _begun_input(out, config)
    teacher = transfer.load_teachers(inputs.teachers, config, spec, inputs.tables)
    return Fit(model, inputs.table, config, spec, out, teacher)


def _initial_model(inputs: Inputs, init: str) -> tuple[nn.Module, InputSpec]:
    """The model to train, and its input: normalised as for the weights that it begins with."""
    config = inputs.config
    sizes = (config.model, len(TASKS[config.task].classes), config.dropout)
    held_out = inputs.table[inputs.table["split"] != "train"]
    lender: ModelConfig | None = None
    path = Path(init)
    if init == "scratch":
        model = backbone.build(*sizes)
    elif init == "pretrained":
        model = backbone.pretrained(*sizes)
    elif path.is_file() or init.endswith(".safetensors"):
        lender = transfer.check_file(path, inputs.tables, held_out)
        model = initial_weights.from_file(path, *sizes)
    else:
        folder = locate(init)
        model = transfer.initialise(folder, config, inputs.tables, held_out)
        lender = ModelFolder(folder).config
    mean, std = backbone.normalisation(config.model)
    if lender is not None:
        mean, std = lender.input.mean, lender.input.std
    return model, InputSpec(config.size, mean=mean, std=std)


def _begun_input(out: Path, config: TrainConfig) -> InputSpec:
    """The input of a run that was begun; runs of earlier versions normalised as for ImageNet."""
    begun = files.read_json(out / RUN_CONFIG)
    if "input" not in begun:
        return InputSpec(config.size)
    try:
        return InputSpec.from_timm(begun["input"])
    except ModelError as error:
        raise ConfigError(
            f"{out / RUN_CONFIG} is damaged ({error}): start a new run with --out."
        ) from None


def begin(inputs: Inputs, spec: InputSpec, out: Path, revision: str) -> None:
    """Begin the folder of a new run, whose model has the input `spec`.

    Raises DataError for a cell that no table of predictions can hold, and ImageError for a test
    image that can't be read.
    """
    task = TASKS[inputs.config.task]
    predictions.check_writable(inputs.table)
    tables.check_images(inputs.table, "test")
    options = dataclasses.asdict(inputs.config)
    files.write_json(out / DESCRIPTION, summary.describe(inputs.table, task))
    plots.overview(out / OVERVIEW, inputs.table)
    content = {
        "options": options,
        "input": spec.to_timm(),
        "held_out_sha256": partition.held_out_fingerprint(inputs.table),
        "revision": revision,
        **_fingerprints(inputs),
        "images_sha256": image_hashes.write(out, inputs.table),
    }
    # Written last: from here on the folder is that of a run, and --resume finds all of it.
    files.write_json(out / RUN_CONFIG, content)


def resume(inputs: Inputs, out: Path, fit: Fit) -> None:
    """Go back to the last complete epoch.

    Raises ConfigError where the inputs have changed, and ModelError and DataError for files of the
    run that are damaged.
    """
    begun = files.read_json(out / RUN_CONFIG)
    if any(begun.get(name) != value for name, value in _fingerprints(inputs).items()):
        config = inputs.config
        places = (str(inputs.folder), config.extra, config.teacher)
        raise ConfigError(
            f"The data in {' or '.join(filter(None, places))} changed since {out} was begun: start "
            "a new run with --out."
        )
    if "images_sha256" not in begun:
        _say(f"{out} was begun by an earlier version, which kept no hashes of the images.")
    elif distributed.is_main():
        image_hashes.check(out, inputs.table, begun["images_sha256"])
    fit.resume()


def _fingerprints(inputs: Inputs) -> dict[str, Any]:
    """Hash of the table, and the models learned from, as JSON values."""
    content: dict[str, Any] = {"table_sha256": partition.fingerprint(inputs.table)}
    if inputs.teachers:
        content["teachers"] = transfer.describe_models(inputs.teachers)
    return content


def recipe(config: TrainConfig) -> dict[str, Any]:
    """The options that decide the result: without places of this machine and without processes."""
    options = dataclasses.asdict(config)
    options["init"] = display_name(config.init)
    options["extra"] = _extra_names(config)
    teachers = transfer.teacher_names(config.teacher)
    options["teacher"] = ",".join(display_name(model) for model in teachers)
    for name in ("out", "workers"):
        del options[name]
    if not config.data.startswith(kaggle.PREFIX):
        # A folder's place says nothing to others, and is theirs to choose; a dataset of Kaggle is
        # part of the recipe.
        del options["data"]
    return options


def provenance(
    config: TrainConfig, begun: dict[str, Any], history: list[dict[str, Any]], table: pd.DataFrame
) -> dict[str, Any]:
    """Return the origin of a model: data, code, options, environment and cost, JSON-ready.

    `begun` is the content of the run's `RUN_CONFIG`. Nothing names a place of this machine.
    """
    return {
        "data": {
            "source": _source(config),
            # The card says that such a run was divided by the shipped partition, so a split column
            # must agree with it.
            "ham10000_lesions": by_partition(table),
            "images": len(table),
            "lesions": int(table["lesion_id"].nunique()),
            "table_sha256": begun["table_sha256"],
            **_held_out(begun),
            "partition_sha256": partition.shipped_hash(),
            **summary.patients(table),
            **_unnamed_lesions(table),
            **_extra_images(config, table),
        },
        "code": {"dermhub": __version__, "revision": begun.get("revision", "unknown")},
        "options": recipe(config),
        **({"teachers": begun["teachers"]} if "teachers" in begun else {}),
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


def _held_out(begun: dict[str, Any]) -> dict[str, str]:
    """The hash of the images that were held out; runs of earlier versions have none."""
    name = "held_out_sha256"
    return {name: begun[name]} if name in begun else {}


def _source(config: TrainConfig) -> str:
    """The name of the data's folder, or "kaggle: " and the dataset's handle."""
    if config.data.startswith(kaggle.PREFIX):
        return f"kaggle: {config.data.removeprefix(kaggle.PREFIX)}"
    return Path(config.data).resolve().name if config.data else f"kaggle: {kaggle.HAM10000}"


def _unnamed_lesions(table: pd.DataFrame) -> dict[str, Any]:
    """The number of images without a lesion id, where others have one."""
    count = int(table["lesion_id"].str.fullmatch(partition.MADE_ID).sum())
    return {"without_lesion_id": count} if 0 < count < len(table) else {}


def _without_lesion(table: pd.DataFrame) -> int:
    return int(table["lesion_id"].str.fullmatch(partition.FILE_ID).sum())


def _extra_images(config: TrainConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Source and counts of the images of `--extra`, which are among those counted above."""
    if not config.extra:
        return {}
    rows = additions.added_rows(table)
    counts = {str(dx): int(count) for dx, count in rows["dx"].value_counts().sort_index().items()}
    return {"extra": {"source": _extra_names(config), "images": len(rows), "dx": counts}}


def _extra_names(config: TrainConfig) -> str:
    """The names of the folders of `--extra`, with commas between them."""
    return ",".join(folder.resolve().name for folder in additions.folders(config.extra))


def by_partition(table: pd.DataFrame) -> bool:
    """Tell if the shipped partition divided a table.

    Then validation and test lesions are of HAM10000, and all that are of it have the partition's
    split.
    """
    splits = table["lesion_id"].map(partition.shipped())
    new_in_training = splits.isna() & (table["split"] == "train")
    return bool(((splits == table["split"]) | new_in_training).all())


def revision(checkout: Path) -> str:
    """The git revision of the code, with "+changes" where some are not committed, or "unknown"."""
    try:
        # An installed package may lie in a repository of something else.
        if Path(_git(checkout, "rev-parse", "--show-toplevel")) != checkout.resolve():
            return "unknown"
        head = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def _git(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", *command], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
