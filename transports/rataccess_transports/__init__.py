"""Transports: each moves packets over one kind of bearer.

Rules of this package: core imports only (errors, clock, config, objects, driver, transport); no driver is imported here.
"""
