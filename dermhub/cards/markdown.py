"""A model card as text: YAML front matter, headed sections, and the numbers in them. The only
module that uses yaml.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

import yaml

from dermhub.errors import ModelError

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def join(front: dict[str, Any], parts: list[str]) -> str:
    """A card from its front matter and its sections."""
    block = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{block}---\n\n" + "\n\n".join(parts) + "\n"


def split(text: str) -> tuple[dict[str, Any], str]:
    """The front matter and the Markdown below it; raises ModelError when there is none or it is not
    YAML.
    """
    found = re.match(r"---\r?\n(.*?\n)---\r?\n", text, re.DOTALL)
    if found is None:
        raise ModelError("README.md does not begin with a block of YAML between two lines of ---")
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the front matter of README.md is not valid YAML ({reason})") from None
    if not isinstance(front, dict):
        raise ModelError(
            f"the front matter of README.md is a {type(front).__name__}, expected keys and values"
        )
    return front, text[found.end() :]


def sections(body: str) -> dict[str, str]:
    """Heading -> the text below it up to the next heading of any level; a # in a block of code is
    no heading.
    """
    found: dict[str, list[str]] = {"": []}
    heading, code = "", False
    for line in body.splitlines():
        code ^= line.startswith("```")
        if not code and re.match(r"#{1,6} ", line):
            heading = line.lstrip("#").strip()
            found.setdefault(heading, [])
        else:
            found[heading].append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def first_difference(text: str, expected: str) -> tuple[str, str] | None:
    """The first number in which two texts differ, read in order, as (found, expected); "nothing"
    where one ends.
    """
    for one, other in zip_longest(
        NUMBER.findall(text), NUMBER.findall(expected), fillvalue="nothing"
    ):
        if one != other:
            return one, other
    return None
