"""The two services: what devices talk to.

Rules of this package: the management service and the solution service share code and nothing else: separate keys, stores,
ports, processes.  Nothing here is imported by the device's side.
"""

from pathlib import Path

from rataccess.objects import Service


def run(service: Service, config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT; see `rataccess.services.running.run`."""
    from rataccess.services.running import run as run_now  # the security floor is heavy: imported on use

    run_now(service, config_path)


__all__ = ["run"]
