"""The HTTP interface of a service, for administration.

Rules of this package: it asks `admin`, `provisioning` and `view`, and decides nothing itself.  Everything but `/health` and
the OpenAPI document is behind the token.  FastAPI and its like are imported here only, when an interface is configured.
"""

from rataccess.services.api.server import ApiServer

__all__ = ["ApiServer"]
