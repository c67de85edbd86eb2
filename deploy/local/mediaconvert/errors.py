"""The endpoint's two kinds of error: a refused request and a failed job."""


class RefusedError(Exception):
    """A request that the API answers with an error of the service's own type and status."""

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


def bad_request(message: str) -> RefusedError:
    return RefusedError("BadRequestException", 400, message)


def forbidden(message: str) -> RefusedError:
    return RefusedError("ForbiddenException", 403, message)


def not_found(message: str) -> RefusedError:
    return RefusedError("NotFoundException", 404, message)


def conflict(message: str) -> RefusedError:
    return RefusedError("ConflictException", 409, message)


def too_many_requests(message: str) -> RefusedError:
    return RefusedError("TooManyRequestsException", 429, message)


UNREADABLE = 1010
NO_VIDEO = 1020
NO_AUDIO = 1021
UNSUPPORTED_CODEC = 1030
INCOMPATIBLE = 1040
BROKEN_STRUCTURE = 1075
TRUNCATED = 1076
ACCESS_DENIED = 1401
MISSING = 1404
WRITE_FAILED = 1517
TIMED_OUT = 1522
UNKNOWN = 1999


class JobFailedError(Exception):
    """A job that ends in ERROR; `code` is one of MediaConvert's documented error codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def unopenable(code: int, address: str, reason: str) -> JobFailedError:
    """Make the error for an input that cannot be opened, in the service's wording. `address` is its `s3://…`."""
    return JobFailedError(code, f"Unable to open input file [{address}]: [Failed probe/open: [{reason}]]")
