"""Drivers of cellular modems that are controlled by AT commands.

Rules of this package: what is common to AT modems is in `rataccess_drivers.at`; here is what a vendor does his own way.
"""
