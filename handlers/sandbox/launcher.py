"""A replacement for `prlimit` where that is missing: it sets the limits of its flags, then executes the command.

Run by path, with `python -I -S`; it imports nothing of ours.
"""

import os
import resource
import sys

LIMITS = {
    "--as": resource.RLIMIT_AS,
    "--cpu": resource.RLIMIT_CPU,
    "--fsize": resource.RLIMIT_FSIZE,
    "--core": resource.RLIMIT_CORE,
    "--nofile": resource.RLIMIT_NOFILE,
    "--nproc": resource.RLIMIT_NPROC,
}


def main(arguments: list[str]) -> None:
    """Run `--as=SOFT:HARD … -- COMMAND …`. Raises ValueError for a limit above the one already set."""
    end = arguments.index("--")
    for flag in arguments[:end]:
        name, _, values = flag.partition("=")
        soft, hard = values.split(":")
        resource.setrlimit(LIMITS[name], (int(soft), int(hard)))
    command = arguments[end + 1 :]
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
