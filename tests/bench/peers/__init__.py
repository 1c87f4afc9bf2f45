"""Programs of the peers; each is run by its path in the peers' environment, and speaks JSON lines.

Rules of this folder: nothing of rataccess is imported here.
"""
