"""Protection of this process's memory and environment from other processes of its user, its own children above all."""

import ctypes
import sys

import structlog

log = structlog.get_logger(__name__)

PR_SET_DUMPABLE = 4
"""From linux/prctl.h. Set to 0, `/proc/PID/environ` and `/proc/PID/mem` belong to root, and no core is dumped."""


def set_undumpable() -> bool:
    """Make this process undumpable, and return whether that worked. A warning is logged where it did not.

    Programs that this process starts do not inherit it.
    """
    hidden = sys.platform == "linux" and not int(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    if not hidden:
        log.warning("sandbox.wall_missing", wall="processes of this user can read the environment", tool="prctl")
    return hidden
