"""`python healthy.py consumer|api`: exit status 0 when its /livez answers 2xx within 4 s.

It asks where the setting says that it listens. The image has no curl, and needs none. Nothing of ours is imported: that
would cost a second of CPU four times a minute.
"""

import os
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

DEADLINE = 4.0
"""Seconds, below the 5 that ECS and Docker are told to wait."""
PORTS = {"consumer": "8006", "api": "8005"}
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
"""Where what listens everywhere is asked."""


def address(name: str) -> str:
    """Where the consumer or the API says whether it lives."""
    prefix = f"MEDIA_{name.upper()}"
    hosts = os.environ.get(f"{prefix}_HOST", "").strip() or "0.0.0.0"  # noqa: S104 - nothing is bound here
    port = os.environ.get(f"{prefix}_PORT", "").strip() or PORTS[name]
    first = hosts.split(",")[0].strip()
    host = ANY.get(first, first)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/livez"


def main(arguments: list[str]) -> int:
    """Exit status 0 healthy, 1 not, 2 wrong usage."""
    if len(arguments) != 1 or arguments[0] not in PORTS:
        sys.stderr.write("usage: healthy.py consumer|api\n")
        return 2
    url = address(arguments[0])
    try:
        # No proxy is asked for what is on this machine, whatever HTTP_PROXY says.
        with build_opener(ProxyHandler({})).open(url, timeout=DEADLINE):
            return 0
    except (URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
