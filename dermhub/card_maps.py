"""The section of a model card on its class maps: whether they lie on the lesion, and what is left without a model."""

from __future__ import annotations

from typing import Any

from dermhub.card_results import lines, number, signed, with_interval
from dermhub.config import ModelConfig
from dermhub.prediction import WHOLE


def maps(config: ModelConfig, content: dict[str, Any]) -> str:
    """Class maps against the masks that people made, and the cascade; plain words where nothing was measured.

    Empty for a metrics.json that is older than the section.
    """
    if "maps" not in content:
        return ""
    told = content["maps"]
    if told is None:
        return "### Class maps, on test\n\n**None.** No class map of this model was held against a mask of the lesion."
    parts = {"all": told["all"], "right answers": told["right"], "wrong answers": told["wrong"]}
    parts |= {f"`{name}`": row for name, row in told["per_class"].items()}
    rows = [
        f"| {name} | {row['n']} | {_cell(row, 'inside')} | {_cell(row, 'lesion_share')} | {_cell(row, 'ratio')} | "
        f"{number(row['inside_other'])} | {_cell(row, 'hit')} | {number(row['hit_other'])} |"
        for name, row in parts.items()
    ]
    height, width = told["cascade"]["cells"]
    return f"""### Class maps, on test

Grad-CAM of the predicted class, held against the lesion masks that people made (Tschandl et al. 2020), in the part of
the image that the model sees. Energy inside: the share of the map's evidence that lies in the lesion. By chance it
would be the lesion's area share (ratio 1), and the peak would lie inside as often. Because lesions lie in the centre,
any lesion's map does better than chance. The fairer comparison is the map of a test image of another lesion that got
the same answer: where that does as well, maps tell little of this image. Maps have {height} x {width} cells, so that
evidence at the rim of a lesion spills over it. Left out are {told["outside_view"]} images whose view the lesion does
not reach and {told["whole_view"]} where it fills at least {WHOLE:.0%} of it; {told["blank"]} blank maps count as
outside. Evidence inside the lesion need not be evidence that a dermatologist would name.

| images | n | energy inside | area share of the lesion | ratio | energy inside, another image's map | peak inside | \
peak inside, another image's map |
|---|---|---|---|---|---|---|---|
{lines(rows)}

{_cascade(told["cascade"])}"""


def _cascade(told: dict[str, Any]) -> str:
    rows = [
        f"| `{stage['layer']}` | {signed(stage['correlation'], stage['bounds'])} | {number(stage['lowest'])} | "
        f"{number(stage['highest'])} | {number(stage['blank'])} |"
        for stage in told["stages"]
    ]
    return f"""### Class maps of a destroyed model

Cascading randomisation (Adebayo et al. 2018): weights are drawn anew from the last layer down, and the map of the same
class is compared with that of the trained model by Spearman's rank correlation over its cells (1: the same order, 0:
no relation), on {told["images"]} test images of as many lesions and {told["draws"]} draws. A map that stayed as it is
would explain no model. The trained model's maps of two different images have {number(told["other_image"])}. Where only
the last layer is drawn anew, the features below still know where the lesion is, and the draw decides what becomes of
the map. In parentheses: 95% intervals over images, for these draws.

| drawn anew from this layer on | correlation | least of a draw | largest of a draw | blank maps |
|---|---|---|---|---|
{lines(rows)}"""


def _cell(row: dict[str, Any], name: str) -> str:
    return with_interval(row[name], row["bounds"][name])
