"""Ports: a free one, or a good explanation why the wanted one is not."""

from __future__ import annotations

import errno
import socket

from contracts.errors import Misconfigured

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, *, host: str = LOOPBACK, purpose: str, remedy: str) -> None:
    """Raise Misconfigured if nobody could listen on `port` now.

    purpose: what we want it for; remedy: what else to do than stopping the other program.
    """
    problem = _problem(host, port)
    if problem:
        raise Misconfigured(f"port {port} on {host}, wanted for {purpose}, {problem}; {remedy}")


def _problem(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As servers do, so that connections of a server just stopped are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except PermissionError:
        return "needs privileges we do not have"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is taken (another `ebbtide up`, perhaps, or a server of your own)"
        return f"cannot be opened ({error.strerror or error})"
    return None
