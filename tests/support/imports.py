"""Imports of a module, read from its syntax tree, for the tests that hold the rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of each import of a module: at its top, in functions, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
