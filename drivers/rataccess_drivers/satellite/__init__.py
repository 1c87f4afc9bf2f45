"""Satellite modems."""
