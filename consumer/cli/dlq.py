"""`dlq list|show|redrive|purge QUEUE`: look at dead letters, move them back, or delete them.

Whatever the exit status, no message is lost.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Concatenate

import click

from consumer.cli import dlq_report as report
from consumer.cli.command import (
    ExitStatus,
    Operation,
    examples,
    interruptible,
    json_option,
    parse_age,
    require_schema,
)
from consumer.cli.dlq_subjects import subjects_of
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.aws.clients import Clients
from media.aws.sqs import MessageQueue, MessageQueues, MoveTask
from media.dead_letters import moves
from media.dead_letters.browser import LIMIT, DeadLetterBrowser
from media.dead_letters.dead_letter import ReasonGroups, Selection
from media.settings import QUEUES, Settings

SLOWEST, FASTEST = 0.1, 500.0
"""Messages a second: slower would outlast the hold of a message, faster SQS does not move."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with: the queue, which of its dead letters are meant, and how to print."""

    queue: str
    source: MessageQueue
    dead: MessageQueue
    selection: Selection
    as_json: bool
    stop: asyncio.Event
    settings: Settings

    def print(self, text: str, found: report.QueueReport) -> None:
        # Only what was given: a redrive has no `deleted`, while a group may have no example's asset.
        print(found.model_dump_json(exclude_unset=True) if self.as_json else f"{self.dead.name}: {text}")

    def is_finished(self, *, truncated: bool) -> bool:
        """Tell whether the command saw the whole queue. Print why, where the queue holds too much."""
        if truncated:
            print(
                f"{self.dead.name}: only the first {LIMIT} messages were looked at, and more may match."
                " Redrive or purge those before them first",
                file=sys.stderr,
            )
        return not truncated and not self.stop.is_set()


def _queue(text: str) -> str:
    name = text.removesuffix("-dlq")
    if name not in QUEUES:
        raise click.BadParameter(f"{text!r} is none of {', '.join(QUEUES)}")
    return name


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not SLOWEST <= rate <= FASTEST:  # a NaN is not either
        raise click.BadParameter(f"{text!r} is no number of messages a second from {SLOWEST:g} to {FASTEST:g}")
    return rate


def _reason(text: str) -> str:
    if not text.strip():
        raise click.BadParameter("an empty one would mean all dead letters; leave --reason out for that")
    return text


def _on_queue[**P](work: Callable[Concatenate[Session, P], Awaitable[bool]]) -> Callable[..., Operation]:
    """Make an operation of `work`, which tells whether it is done, with the options that all four commands have.

    The first signal ends it in order, a second one at once.
    """

    @click.argument("queue", type=_queue, metavar="QUEUE")
    @click.option("--reason", type=_reason, metavar="TEXT", help="Only this error code, or reasons with this text.")
    @click.option("--older-than", type=parse_age, metavar="AGE", help="Only those dead for longer: 90s, 30m, 2h, 3d.")
    @json_option
    @functools.wraps(work)
    def operation(
        queue: str, reason: str | None, older_than: float | None, as_json: bool, *args: P.args, **kwargs: P.kwargs
    ) -> Operation:
        async def run(settings: Settings) -> int:
            async with AsyncExitStack() as stack:
                stop = stack.enter_context(interruptible())
                queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
                source, dead = queues[queue], queues.dead_letters(queue)
                session = Session(queue, source, dead, Selection(reason, older_than), as_json, stop, settings)
                done = await work(session, *args, **kwargs)
            if stop.is_set():
                print(
                    "interrupted: there may be more than was told; what was not done yet stays as it was",
                    file=sys.stderr,
                )
                return ExitStatus.INTERRUPTED
            return ExitStatus.DONE if done else ExitStatus.INCOMPLETE

        return run

    operation.__doc__ = f"{work.__doc__}\n\nQUEUE is one of {', '.join(QUEUES)}. Without a filter all of it is meant."
    return operation


_dry_run = click.option("--dry-run", is_flag=True, help="Only count what is meant.")


@click.group(epilog=examples("dlq show uploads", "dlq redrive images --reason storage_error --dry-run"))
def dlq() -> None:
    """List, redrive or purge dead letters.

    To look at a message is to receive it: it is hidden from others meanwhile, then released. At most 10,000 are held
    at once. Where more lie before what is meant, the command says so and ends with 1. No message is ever lost.
    """


@dlq.command("list", epilog=examples("dlq list images", "dlq list uploads --older-than 2h --json"))
@_on_queue
async def list_(session: Session) -> bool:
    """Count dead letters by reason."""
    return await _count(session)


async def _count(session: Session) -> bool:
    groups = ReasonGroups()
    async with DeadLetterBrowser(session.dead, session.stop) as browser:
        async for dead_letter in browser.dead_letters(session.selection):
            groups.add(dead_letter)
    finished = session.is_finished(truncated=browser.truncated)
    text = f"{groups.total} message{'' if groups.total == 1 else 's'}{report.table(groups)}"
    reasons = groups.largest_first()
    found = report.QueueReport(queue=session.queue, finished=finished, found=groups.total, dead_by_reason=reasons)
    session.print(text, found)
    return finished


@dlq.command(epilog=examples("dlq show images", "dlq show transcodes --reason unforeseen --json"))
@_on_queue
async def show(session: Session) -> bool:
    """Show each dead letter with its asset and that asset's timeline."""
    await require_schema(session.settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(connect(session.settings.database_url, application="media-dlq"))
        store = AssetStore(database)
        browser = await stack.enter_async_context(DeadLetterBrowser(session.dead, session.stop))
        async for dead_letter in browser.dead_letters(session.selection):
            subjects = subjects_of(session.queue, dead_letter.received.body)
            recorded = await store.get_recording(subjects.recording_id) if subjects.recording_id else None
            asset_ids = dict.fromkeys([*subjects.asset_ids, *([recorded.asset_id] if recorded else [])])
            assets = [asset for asset_id in asset_ids if (asset := await store.get(asset_id))]
            histories = [report.AssetHistory.of(asset, await store.timeline(asset.asset_id)) for asset in assets]
            described = report.DeadLetterReport.of(dead_letter, histories)
            print(described.model_dump_json() if session.as_json else described.text())
    return session.is_finished(truncated=browser.truncated)


@dlq.command(
    epilog=examples(
        "dlq redrive images --dry-run", "dlq redrive images --rate 20", "dlq redrive uploads --reason storage_error"
    )
)
@_on_queue
@_dry_run
@click.option("--rate", type=_rate, metavar="N", help="At most N messages a second.")
async def redrive(session: Session, *, dry_run: bool, rate: float | None) -> bool:
    """Move dead letters back to their queue."""
    if dry_run:
        return await _count(session)
    dead, source, pace = session.dead, session.source, moves.Pace(rate)
    if session.selection.everything and pace.fits_sqs:
        move = await moves.move_by_sqs(dead, source, pace, session.stop, _print_progress)
        if move is not None:
            finished = move.status == "COMPLETED"
            text = f"{move.moved} moved by SQS to {source.name}, {move.status} {move.failure}"
            session.print(text, report.QueueReport(queue=session.queue, finished=finished, moved=move.moved))
            return finished
    groups, finished = ReasonGroups(), False
    try:
        truncated = await moves.move_in_batches(dead, source, session.selection, pace, session.stop, groups.add)
        finished = session.is_finished(truncated=truncated)
    finally:  # whatever broke it off
        moved = report.QueueReport(queue=session.queue, finished=finished, moved=groups.total)
        session.print(f"{groups.total} moved to {source.name}", moved)
    return finished


async def _print_progress(move: MoveTask) -> None:
    print(f"{move.moved} of about {move.total} moved by SQS", file=sys.stderr)


@dlq.command(
    epilog=examples("dlq purge uploads --reason undecodable --dry-run", "dlq purge uploads --reason undecodable")
)
@_on_queue
@_dry_run
async def purge(session: Session, *, dry_run: bool) -> bool:
    """Delete dead letters for good."""
    if dry_run:
        return await _count(session)
    groups, finished = ReasonGroups(), False
    try:
        truncated = await moves.purge(session.dead, session.selection, session.stop, groups.add)
        finished = session.is_finished(truncated=truncated)
    finally:  # whatever broke it off
        text, reasons = f"{groups.total} deleted{report.table(groups)}", groups.largest_first()
        gone = report.QueueReport(queue=session.queue, finished=finished, deleted=groups.total, dead_by_reason=reasons)
        session.print(text, gone)
    return finished
