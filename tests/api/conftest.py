"""Fixtures of this folder: both kinds of store."""

from __future__ import annotations

from tests.services.conftest import postgres, postgres_url, store_url

__all__ = ["postgres", "postgres_url", "store_url"]
