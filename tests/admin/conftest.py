"""Fixtures of this folder: the command line's own."""

from __future__ import annotations

from tests.cli.conftest import cli, services

__all__ = ["cli", "services"]
