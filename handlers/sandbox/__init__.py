"""Child processes for risky work: limits on memory, time and files, no credentials, no network where possible."""

from handlers.sandbox.byte_budget import ByteBudget
from handlers.sandbox.errors import (
    ChildCrashedError,
    ChildDiskFullError,
    ChildMemoryError,
    ChildOutputError,
    ChildStartError,
    ChildTimeoutError,
    JobFailedError,
    SandboxError,
)
from handlers.sandbox.isolation import ChildLimits, FileView, Isolation, probe
from handlers.sandbox.pool import WorkerPool
from handlers.sandbox.run_once import CompletedChild, ending_signal, run_limited

__all__ = [
    "ByteBudget",
    "ChildCrashedError",
    "ChildDiskFullError",
    "ChildLimits",
    "ChildMemoryError",
    "ChildOutputError",
    "ChildStartError",
    "ChildTimeoutError",
    "CompletedChild",
    "FileView",
    "Isolation",
    "JobFailedError",
    "SandboxError",
    "WorkerPool",
    "ending_signal",
    "probe",
    "run_limited",
]
