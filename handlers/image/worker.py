"""What runs in the child processes: jobs in, replies out, as strings of JSON."""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from handlers.image import pipeline
from handlers.image.decoding.source import prepare_decoders
from handlers.image.protocol import JobKind, RefusedPicture, RenderJob, Reply, UnforeseenFailure, encode_reply
from handlers.image.rendering import resampling
from media.errors import RejectedError

ENCODERS = 2
"""Threads; Pillow's encoder leaves the interpreter free meanwhile. More need more address space than they save time."""


def build() -> Callable[[str], str]:
    """Called once per child, by the sandbox's entry."""
    prepare_decoders()
    resampling.load()
    return work


def work(line: str) -> str:
    """Do one job, whose errors are replies, too: all but those that the sandbox's entry has a name for."""
    job = RenderJob.decode(line)
    reply: Reply
    try:
        if job.kind is JobKind.SURVEY:
            reply = pipeline.survey(job)
        else:
            # Leaving waits for the encoders: when the reply is out, nobody writes any more.
            with ThreadPoolExecutor(ENCODERS) as encoders:
                reply = pipeline.render(job, encoders)
    except RejectedError as error:
        reply = RefusedPicture(error.code, error.detail[:500])
    except MemoryError:  # a limit's
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the machine's; Pillow's own have no number
            raise
        reply = UnforeseenFailure(traceback.format_exc(limit=-6))
    return encode_reply(reply)
