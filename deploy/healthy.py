"""Health check of a container, `python healthy.py consumer|api`: exit status 0 when /livez answers 2xx within 4 s.

It uses the address that the settings name. The image has no curl. It imports none of our modules, since that would cost
a second of CPU four times a minute.
"""

import os
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

DEADLINE = 4.0
"""Seconds for the answer; below the 5 s after which ECS and Docker give up."""
PORTS = {"consumer": "8006", "api": "8005"}
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
"""The loopback address for each address that means all interfaces."""


def address(name: str) -> str:
    """Return the URL of the liveness check of the consumer or the API."""
    prefix = f"MEDIA_{name.upper()}"
    hosts = os.environ.get(f"{prefix}_HOST", "").strip() or "0.0.0.0"  # noqa: S104 - nothing is bound here
    port = os.environ.get(f"{prefix}_PORT", "").strip() or PORTS[name]
    first = next((host.strip(" []") for host in hosts.split(",") if host.strip()), "0.0.0.0")  # noqa: S104 - as above
    host = WILDCARDS.get(first, first)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/livez"


def main(arguments: list[str]) -> int:
    """Check once; exit status 0 healthy, 1 not healthy, 2 wrong usage."""
    if len(arguments) != 1 or arguments[0] not in PORTS:
        sys.stderr.write("usage: healthy.py consumer|api\n")
        return 2
    url = address(arguments[0])
    try:
        # The service is on this machine, so HTTP_PROXY must not apply.
        with build_opener(ProxyHandler({})).open(url, timeout=DEADLINE):
            return 0
    except (URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
