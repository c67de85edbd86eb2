"""Keeps what this process holds in memory and environment from other processes of its user: its own children first."""

import ctypes
import sys

import structlog

log = structlog.get_logger(__name__)

PR_SET_DUMPABLE = 4
"""From linux/prctl.h. Without it `/proc/PID/environ` and `/proc/PID/mem` belong to root, and no core is dumped."""


def set_undumpable() -> bool:
    """Whether it worked; a warning is logged where it did not. Programs that it starts are as open as ever."""
    hidden = sys.platform == "linux" and not int(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    if not hidden:
        log.warning("sandbox.wall_missing", wall="processes of this user can read the environment", tool="prctl")
    return hidden
