"""Train a model: python train.py --task binary | lesion.

The recipe, top to bottom: options -> data -> model -> epochs -> choose on validation -> test once
-> card. Everything lands in one folder; `runs/<name>/model` is a model folder that `dermhub.load`
and timm read.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import get_type_hints

from dermhub import files, installation
from dermhub.cli import machine, terminal
from dermhub.errors import ConfigError, DermhubError, program
from dermhub.models.catalog import RUN_MODEL
from dermhub.training import distributed, lock
from dermhub.training.config import CURVES, GROUPS, RUN_CONFIG, RUN_FILES, TrainConfig, flag


def main() -> None:
    """Train, evaluate and write the model folder."""
    config, out, resumed = options()
    distributed.check_variables()
    if not resumed and distributed.is_main() and not (out / RUN_CONFIG).exists():
        lock.check_free(out, RUN_FILES)
    # Of several processes the first one alone writes; the others wait for it.
    with lock.locked(out) if distributed.is_main() else contextlib.nullcontext():
        if not resumed and distributed.is_main() and (out / RUN_CONFIG).exists():
            raise ConfigError(
                f"{out} already holds a run: go on with --resume {out}, or give another folder "
                "with --out."
            )
        train(config, out, resumed)


def train(config: TrainConfig, out: Path, resumed: bool) -> None:
    """Train in a folder that this process has locked, from the start or from the last epoch."""
    # Only now the heavy imports: options and --help answer at once.
    from dermhub.data import partition
    from dermhub.evaluation import plots, summary
    from dermhub.release import finish
    from dermhub.training import cpu, run

    cpu.keep_memory()
    with distributed.main_process_first():
        inputs = run.read_inputs(config)
        fit = run.build(inputs, out, resumed)
        if resumed:
            run.resume(inputs, out, fit)
        elif distributed.is_main():
            run.begin(inputs, fit.spec, out, run.revision(Path(__file__).resolve().parent))

    with distributed.process_group():
        distributed.check_same((run.recipe(fit.config), partition.fingerprint(fit.table)))
        fit.run()

    if distributed.is_main():
        begun = files.read_json(out / RUN_CONFIG)
        provenance = run.provenance(fit.config, begun, fit.history, fit.table)
        metrics = finish.finish(fit, out / RUN_MODEL, provenance)
        plots.curves(out / CURVES, fit.history)
        print(f"{out / RUN_MODEL}: {summary.headline(metrics)}")


def options(arguments: list[str] | None = None) -> tuple[TrainConfig, Path, bool]:
    """Parse the command line: the configuration, the folder of the run, and if it is resumed.

    Raises ConfigError for options that can't be used.
    """
    given = sys.argv[1:] if arguments is None else arguments
    values = vars(make_parser().parse_args(given))
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
    if not (folder / RUN_CONFIG).is_file():
        raise ConfigError(f"{folder} is not the folder of a run: it has no {RUN_CONFIG}.")
    try:
        config = TrainConfig.from_json(files.read_json(folder / RUN_CONFIG)["options"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder / RUN_CONFIG} is not what train.py wrote ({error}): start a new run."
        ) from error
    return config, folder, True


def make_parser() -> argparse.ArgumentParser:
    """Make a parser whose options are the fields of `TrainConfig`, in groups, and --resume."""
    parser = argparse.ArgumentParser(
        description="Fine-tune a timm CNN on dermatoscopic images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    hints = get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        groups[field.metadata["group"]].add_argument(
            flag(field.name),
            type=hints[field.name],
            default=field.default,
            help=field.metadata["help"].replace("%", "%%"),
        )
    groups["run"].add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run in this folder; takes no other option",
    )
    return parser


def run() -> int:
    """Run `main`; errors about the input are one sentence on stderr and exit code 2."""
    try:
        machine.prepare()
        main()
    except DermhubError as error:
        return refuse(str(error))
    except ModuleNotFoundError as error:
        return refuse(
            f"this needs {error.name}, which is not installed: {installation.advice('torch')}."
        )
    except KeyboardInterrupt:
        if distributed.is_main():
            print(
                f"\n{program('train.py')}: stopped; --resume RUN goes on after the last complete "
                "epoch.",
                file=sys.stderr,
            )
        return 130
    except Exception as error:
        if not (problem := machine.sentence(error)):
            raise
        return refuse(problem)
    return 0


def refuse(problem: str) -> int:
    """Print a sentence on stderr, of several processes once, and return the exit code."""
    if distributed.reports_errors():
        print(f"{program('train.py')}: {terminal.one_line(problem)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    with terminal.printable_output():
        sys.exit(run())
