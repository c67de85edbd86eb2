"""Failures of work in a child process. The caller decides what they mean for a file."""


class SandboxError(Exception):
    """A child process failed."""


class ChildStartError(SandboxError):
    """No child could be started. The machine or the installation is at fault, never the input."""


class ChildCrashedError(SandboxError):
    """The child died in the middle of its work, by a signal or by itself."""


class ChildTimeoutError(SandboxError):
    """The child did not answer in time and was killed."""


class ChildMemoryError(SandboxError):
    """The child reached its limit of memory."""


class ChildOutputError(SandboxError):
    """The child reached its limit of file size, or wrote more output than its caller accepts."""


class JobFailedError(SandboxError):
    """The job raised an error that it does not declare; the message is the child's traceback."""


class ChildDiskFullError(SandboxError):
    """The job reports a full disk. The child lives on."""
