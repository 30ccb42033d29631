"""The section of a model card that says how its weights were made."""

from __future__ import annotations

from typing import Any

from dermhub.config import ModelConfig


def training(config: ModelConfig, _: dict[str, Any]) -> str:
    """The command, what it did, on what machine and for how long."""
    told = config.provenance
    options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in told["options"].items() if value != "")
    # A folder's place is not told; without --data the command would train on HAM10000.
    options += "" if told["data"]["ham10000_lesions"] or "data" in told["options"] else " --data DIR"
    stopped, planned = told["options"].get("stop_after"), told["options"]["epochs"]
    sampling = told["options"]["sampling"]
    drawn = "more evenly than they are in the data" if sampling < 1 else "as they are in the data"
    drawn += " (frequent ones more often)" if sampling > 1 else ""
    end = f" ({stopped} of {planned})" if stopped and stopped < planned else ""
    where, revision = told["environment"], told["code"]["revision"]
    changed = " and changes that were not committed" if revision.endswith("+changes") else ""
    return f"""## Training

```
python train.py {options}
```

AdamW with warm-up and cosine decay; random crops, flips, turns, colour, resolution and JPEG quality, for every class
alike; classes drawn {drawn}; the exponential average of the weights after the last epoch{end} is kept.
{_beside(told)}\
{told["epoch_seconds"]} s an epoch ({told["images_per_second"]} images/s; medians) with {where["threads"]} threads on
{where["machine"]}; torch {where["torch"]}, timm {where["timm"]}, Python {where["python"]}; code revision
`{revision[:12]}`{changed}; {told["date"]}.

![Training curves](figures/curves.png)"""


def _beside(told: dict[str, Any]) -> str:
    """What was learned from beside the images of the table and their labels."""
    options = told["options"]
    same = "the same images" + (", with or without those from elsewhere" if "extra" in told["data"] else "")
    sharper = (
        f"Sharper copies (`{options['sharper']}`) stood in for some training images, as often of every diagnosis.\n"
        if options.get("sharper")
        else ""
    )
    known, mixed = (
        [
            f"`{one['architecture']}`, task `{one['task']}`, weights with sha256 `{one['weights_sha256'][:12]}`"
            for one in told.get(name, [])
        ]
        for name in ("teachers", "soup")
    )
    what = f"The mean answers of {len(known)} other models" if len(known) > 1 else "The answers of another model"
    who = "they" if len(known) > 1 else "it"
    teacher = f"{what} (`--teacher`) were learned as well:\n" + ";\n".join(
        [*known, f"{who} had learned from {same}.\n"]
    )
    soup = "What is released is the mean of these weights, which the curves are of, and those of (`--soup`):\n"
    soup += ";\n".join([*mixed, f"trained on {same}.\n"])
    then = "Models in the command are called as they were then; the hashes tell which they were.\n"
    return sharper + (teacher if known else "") + (soup if mixed else "") + (then if known or mixed else "")
