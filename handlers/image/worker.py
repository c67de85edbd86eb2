"""The code that child processes run: it turns jobs into replies, both as strings of JSON."""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from handlers.image import pipeline
from handlers.image.decoding.source import prepare_decoders
from handlers.image.protocol import JobKind, RefusedPicture, RenderJob, Reply, UnforeseenFailure, encode_reply
from handlers.image.rendering import resampling
from media.errors import RejectedError

ENCODERS = 2
"""Threads that encode; Pillow's encoder releases the GIL. More threads cost address space and save little time."""


def build() -> Callable[[str], str]:
    """Prepare the libraries and return the worker. The sandbox calls this once per child."""
    prepare_decoders()
    resampling.load()
    return work


def work(line: str) -> str:
    """Do one job. Errors become replies, except those that the sandbox itself reports."""
    job = RenderJob.decode(line)
    reply: Reply
    try:
        if job.kind is JobKind.SURVEY:
            reply = pipeline.survey(job)
        else:
            # Leaving the block waits for the encoders: nothing is written after the reply is sent.
            with ThreadPoolExecutor(ENCODERS) as encoders:
                reply = pipeline.render(job, encoders)
    except RejectedError as error:
        reply = RefusedPicture(error.code, error.detail[:500])
    except MemoryError:  # the limit of address space; the sandbox reports it
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the machine's; Pillow's own have no number
            raise
        reply = UnforeseenFailure(traceback.format_exc(limit=-6))
    return encode_reply(reply)
