"""Fixtures of this folder: both kinds of store."""

from __future__ import annotations

from tests.services.conftest import store_url

__all__ = ["store_url"]
