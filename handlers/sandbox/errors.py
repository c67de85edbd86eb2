"""How work in a child process can fail; what that means for a file is the caller's decision."""


class SandboxError(Exception):
    """Something went wrong with a child process."""


class ChildStartError(SandboxError):
    """No child could be started: the machine's or the installation's fault, never the input's."""


class ChildCrashedError(SandboxError):
    """The child died in the middle of its work, by a signal or by itself."""


class ChildTimeoutError(SandboxError):
    """The child did not answer in time and was killed."""


class ChildMemoryError(SandboxError):
    """The child met its limit of memory."""


class ChildOutputError(SandboxError):
    """The child met its limit of file size, or said more than was agreed."""


class JobFailedError(SandboxError):
    """The job raised an error that it does not declare; the message is the child's traceback."""


class ChildDiskFullError(SandboxError):
    """The job says that the disk was full. The child lives."""
