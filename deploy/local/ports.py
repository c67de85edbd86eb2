"""The loopback port of each part of the stack."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"
DEFAULT_API_PORT = 8005

DERIVED = {
    "consumer": ("MEDIA_CONSUMER_PORT", 10_000),
    "emulator": ("MEDIA_LOCAL_EMULATOR_PORT", 11_000),
    "mediaconvert": ("MEDIA_LOCAL_MEDIACONVERT_PORT", 12_000),
    "postgres": ("MEDIA_LOCAL_POSTGRES_PORT", 13_000),
}
"""The variable of each part's port, and the port's offset from the API's port if the variable is not set."""

_NOT_A_PORT = "not a port; give a number from 1 to 65535"


class PortError(Exception):
    """A port is busy, or not a port; the message names its variable."""


@dataclass(frozen=True, slots=True)
class Ports:
    """One TCP port per part; clamd listens on a unix socket."""

    api: int
    consumer: int
    emulator: int
    mediaconvert: int
    postgres: int


def choose(environ: Mapping[str, str] = os.environ) -> Ports:
    """Choose ports that are free at this moment.

    A port that a variable names is used or refused. The others have fixed offsets from the API's port. If such a port
    is busy any free one is used, so that stacks with different API ports run side by side.
    Raises PortError for a named port that is busy, and for a value that is not a port.
    """
    api = _named(environ, "MEDIA_API_PORT") or _require_free("MEDIA_API_PORT", DEFAULT_API_PORT)
    taken = {api}
    chosen: dict[str, int] = {}
    for part, (variable, offset) in DERIVED.items():
        port = _named(environ, variable) or _free_port_near(api + offset, taken)
        if port in taken:
            raise PortError(f"{variable}={port}: another part of this stack has that port")
        taken.add(port)
        chosen[part] = port
    return Ports(api=api, **chosen)


def mistakes(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an error message for each variable whose value is not a port."""
    variables = ["MEDIA_API_PORT", *(variable for variable, _ in DERIVED.values())]
    return {name: _NOT_A_PORT for name in variables if _text(environ, name) and not _is_port(_text(environ, name))}


def free_port() -> int:
    """Return a port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _free_port_near(preferred: int, taken: set[int]) -> int:
    if preferred < 2**16 and preferred not in taken and is_free(preferred):
        return preferred
    return next(port for port in iter(free_port, None) if port not in taken)


def _named(environ: Mapping[str, str], variable: str) -> int | None:
    text = _text(environ, variable)
    if not text:
        return None
    if not _is_port(text):
        raise PortError(f"{variable}={text}: {_NOT_A_PORT}")
    return _require_free(variable, int(text))


def _text(environ: Mapping[str, str], variable: str) -> str:
    return environ.get(variable, "").strip()


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len("65535") and 0 < int(text) < 2**16


def _require_free(variable: str, port: int) -> int:
    if not is_free(port):
        raise PortError(f"port {port} is busy: end the program that listens there, or set {variable} to another port")
    return port


def is_free(port: int) -> bool:
    """Tell whether loopback's `port` can be bound now; sockets in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
