"""Drivers: one radio each, behind the bases of `rataccess.driver`.

Rules of this package: drivers import the ground floors of the core only, and no transport.
"""
