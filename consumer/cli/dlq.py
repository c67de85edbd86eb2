"""`dlq list|show|redrive|purge QUEUE`: look at dead letters, move them back, or delete them.

Whatever the exit status, no message is lost.
"""

import asyncio
import functools
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Concatenate

import click

from consumer.cli import dlq_report as report
from consumer.cli.command import (
    DONE,
    FAILED,
    INTERRUPTED,
    Operation,
    examples,
    interruptible,
    json_option,
    require_schema,
)
from consumer.cli.dlq_subjects import subjects_of
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.aws import Clients
from media.dead_letters import moves
from media.dead_letters.browser import LIMIT, Browser
from media.dead_letters.dead_letter import DeadLetter, ReasonGroups, Selection
from media.message_queue import MessageQueue, MessageQueues, Move
from media.settings import QUEUES, Settings

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1, "m": report.MINUTE, "h": report.HOUR, "d": report.DAY}
SLOWEST, FASTEST = 0.1, 500.0
"""Messages a second: slower would outlast the hold of a message, faster SQS does not move."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a command line says about any of the four commands."""

    queue: str
    selection: Selection
    as_json: bool


@dataclass(frozen=True, slots=True)
class Session:
    """An order with everything that it takes to carry it out."""

    order: Order
    source: MessageQueue
    dead: MessageQueue
    stop: asyncio.Event
    settings: Settings


def _queue(text: str) -> str:
    name = text.removesuffix("-dlq")
    if name not in QUEUES:
        raise click.BadParameter(f"{text!r} is none of {', '.join(QUEUES)}")
    return name


def _age(text: str) -> float:
    if not (match := _AGE.fullmatch(text)):
        raise click.BadParameter(f"{text!r} is not like 90s, 30m, 2h or 3d")
    return float(match[1]) * _UNITS[match[2]]


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


def _takes_order[**P](command: Callable[Concatenate[Order, P], Operation]) -> Callable[..., Operation]:
    """Give a command the argument and the options that all four have."""

    @click.argument("queue", type=_queue, metavar="QUEUE")
    @click.option("--reason", type=_reason, metavar="TEXT", help="Only this error code, or reasons with this text.")
    @click.option("--older-than", type=_age, metavar="AGE", help="Only those dead for longer: 90s, 30m, 2h, 3d.")
    @json_option
    @functools.wraps(command)
    def with_order(
        queue: str, reason: str | None, older_than: float | None, as_json: bool, *args: P.args, **kwargs: P.kwargs
    ) -> Operation:
        return command(Order(queue, Selection(reason, older_than), as_json=as_json), *args, **kwargs)

    with_order.__doc__ = (
        f"{command.__doc__}\n\nQUEUE is one of {', '.join(QUEUES)}. Without a filter all of it is meant."
    )
    return with_order


_dry_run = click.option("--dry-run", is_flag=True, help="Only count what is meant.")


@click.group(epilog=examples("dlq show uploads", "dlq redrive images --reason storage_error --dry-run"))
def dlq() -> None:
    """List, redrive or purge dead letters.

    To look at a message is to receive it: it is hidden from others meanwhile, then released. At most 10,000 are held
    at once. Where more lie before what is meant, the command says so and ends with 1. No message is ever lost.
    """


@dlq.command("list", epilog=examples("dlq list images", "dlq list uploads --older-than 2h --json"))
@_takes_order
def list_(order: Order) -> Operation:
    """Count dead letters by reason."""
    return functools.partial(_run, _count, order)


@dlq.command(epilog=examples("dlq show images", "dlq show transcodes --reason unforeseen --json"))
@_takes_order
def show(order: Order) -> Operation:
    """Show each dead letter with its asset and that asset's timeline."""
    return functools.partial(_run, _show, order)


@dlq.command(
    epilog=examples(
        "dlq redrive images --dry-run", "dlq redrive images --rate 20", "dlq redrive uploads --reason storage_error"
    )
)
@_takes_order
@_dry_run
@click.option("--rate", type=_rate, metavar="N", help="At most N messages a second.")
def redrive(order: Order, *, dry_run: bool, rate: float | None) -> Operation:
    """Move dead letters back to their queue."""
    return functools.partial(_run, _count if dry_run else functools.partial(_redrive, moves.Pace(rate)), order)


@dlq.command(
    epilog=examples("dlq purge uploads --reason undecodable --dry-run", "dlq purge uploads --reason undecodable")
)
@_takes_order
@_dry_run
def purge(order: Order, *, dry_run: bool) -> Operation:
    """Delete dead letters for good."""
    return functools.partial(_run, _count if dry_run else _purge, order)


async def _run(work: Callable[[Session], Awaitable[bool]], order: Order, settings: Settings) -> int:
    """Carry out a command; `work` tells whether it is done. The first signal ends it in order, a second one at once."""
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(interruptible())
        queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
        done = await work(Session(order, queues[order.queue], queues.dead_letters(order.queue), stop, settings))
    if stop.is_set():
        print("interrupted: there may be more than was told; what was not done yet stays as it was", file=sys.stderr)
        return INTERRUPTED
    return DONE if done else FAILED


async def _count(session: Session) -> bool:
    groups = ReasonGroups()
    async with Browser(session.dead, session.stop) as browser:
        async for dead_letter in browser.dead_letters(session.order.selection):
            groups.add(dead_letter)
    finished = _finished(session, truncated=browser.truncated)
    text = f"{groups.total} message{'' if groups.total == 1 else 's'}{report.table(groups)}"
    reasons = report.by_reason(groups)
    found = report.QueueReport(queue=session.order.queue, finished=finished, found=groups.total, dead_by_reason=reasons)
    _print(session, text, found)
    return finished


async def _show(session: Session) -> bool:
    await require_schema(session.settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(connect(session.settings.database_url, application="media-dlq"))
        store = AssetStore(database)
        browser = await stack.enter_async_context(Browser(session.dead, session.stop))
        async for dead_letter in browser.dead_letters(session.order.selection):
            histories = await _histories(store, session.order.queue, dead_letter)
            described = report.DeadLetterReport.of(dead_letter, histories)
            print(described.model_dump_json() if session.order.as_json else described.text())
    return _finished(session, truncated=browser.truncated)


async def _histories(store: AssetStore, queue: str, dead_letter: DeadLetter) -> list[report.AssetHistory]:
    """Read the assets that a dead letter is about, each with its timeline. Unknown ones are left out."""
    subjects = subjects_of(queue, dead_letter.received.body)
    recorded = await store.get_recording(subjects.recording_id) if subjects.recording_id else None
    asset_ids = dict.fromkeys([*subjects.asset_ids, *([recorded.asset_id] if recorded else [])])
    assets = [asset for asset_id in asset_ids if (asset := await store.get(asset_id))]
    return [report.AssetHistory.of(asset, await store.timeline(asset.asset_id)) for asset in assets]


async def _redrive(pace: moves.Pace, session: Session) -> bool:
    dead, source, selection = session.dead, session.source, session.order.selection
    if selection.everything and pace.fits_sqs:
        move = await moves.move_by_sqs(dead, source, pace, session.stop, _tell_progress)
        if move is not None:
            finished = move.status == "COMPLETED"
            text = f"{move.moved} moved by SQS to {source.name}, {move.status} {move.failure}"
            moved = report.QueueReport(queue=session.order.queue, finished=finished, moved=move.moved)
            _print(session, text, moved)
            return finished
    groups, finished = ReasonGroups(), False
    try:
        truncated = await moves.move_one_by_one(dead, source, selection, pace, session.stop, groups.add)
        finished = _finished(session, truncated=truncated)
    finally:  # whatever broke it off
        moved = report.QueueReport(queue=session.order.queue, finished=finished, moved=groups.total)
        _print(session, f"{groups.total} moved to {source.name}", moved)
    return finished


async def _tell_progress(move: Move) -> None:
    print(f"{move.moved} of about {move.total} moved by SQS", file=sys.stderr)


async def _purge(session: Session) -> bool:
    groups, finished = ReasonGroups(), False
    try:
        truncated = await moves.purge(session.dead, session.order.selection, session.stop, groups.add)
        finished = _finished(session, truncated=truncated)
    finally:  # whatever broke it off
        _print(
            session,
            f"{groups.total} deleted{report.table(groups)}",
            report.QueueReport(
                queue=session.order.queue,
                finished=finished,
                deleted=groups.total,
                dead_by_reason=report.by_reason(groups),
            ),
        )
    return finished


def _finished(session: Session, *, truncated: bool) -> bool:
    """Return whether a look saw the whole queue. One that held too much is explained."""
    if truncated:
        print(
            f"{session.dead.name}: the look ended before the queue did, as only {LIMIT} messages are held at once:"
            " there may be more that is meant. Redrive or purge first what stands before it",
            file=sys.stderr,
        )
    return not truncated and not session.stop.is_set()


def _print(session: Session, text: str, queue: report.QueueReport) -> None:
    print(queue.model_dump_json(exclude_none=True) if session.order.as_json else f"{session.dead.name}: {text}")
