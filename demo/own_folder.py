"""dermhub's folders that are removed even after a kill, for the server, which knows no dermhub."""

from __future__ import annotations

from dermhub import OwnFolder

__all__ = ["OwnFolder"]
