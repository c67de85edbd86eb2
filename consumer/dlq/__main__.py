"""`python -m consumer.dlq list|show|redrive|purge QUEUE`: looks at dead letters, moves them back, or throws them away.

Exit status 0 done, 1 a dependency is away, a move failed, only a part of a large queue was looked at or nobody reads
what is written, 2 wrong usage or configuration, 130 interrupted. Whatever the status, no letter is lost.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from consumer.command import FAILED, INTERRUPTED, ended, interruptible, require_schema
from consumer.dlq import report
from consumer.dlq.letters import subjects_of
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.aws import Clients
from media.dead_letters import moves
from media.dead_letters.browser import LIMIT, Browser
from media.dead_letters.dead_letter import DeadLetter, Selection
from media.message_queue import MessageQueue, MessageQueues, Move
from media.settings import QUEUES, Settings

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1, "m": report.MINUTE, "h": report.HOUR, "d": report.DAY}
SLOWEST, FASTEST = 0.1, 500.0
"""Messages a second: slower would outlast the hold of a message, faster SQS does not move."""
GOES_WITH = {"rate": ("redrive",), "dry_run": ("redrive", "purge")}
"""Options that not every command has."""


@dataclass(frozen=True, slots=True)
class Task:
    """What was asked for, with everything it takes."""

    queue: str
    source: MessageQueue
    dead: MessageQueue
    selection: Selection
    pace: moves.Pace
    dry_run: bool
    stop: asyncio.Event
    settings: Settings


async def show_groups(task: Task) -> int:
    """How many letters there are, by reason."""
    tally = report.Tally()
    async with Browser(task.dead, task.stop) as browser:
        async for letter in browser.dead_letters(task.selection):
            tally.add(letter)
    print(f"{task.dead.name}: {tally.total} message{'' if tally.total == 1 else 's'}")
    if tally.total:
        print(tally.table())
    return _completeness(task, incomplete=browser.truncated)


async def show_letters(task: Task) -> int:
    """Every letter with its asset and that asset's timeline."""
    await require_schema(task.settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(connect(task.settings.database_url, application="media-dlq"))
        store = AssetStore(database)
        browser = await stack.enter_async_context(Browser(task.dead, task.stop))
        async for letter in browser.dead_letters(task.selection):
            print(report.described(letter))
            await _show_assets(store, task.queue, letter)
    return _completeness(task, incomplete=browser.truncated)


def _completeness(task: Task, *, incomplete: bool) -> int:
    """The exit status; one that is not 0 is explained."""
    if incomplete:
        print(
            f"{task.dead.name}: the look ended before the queue did, as only {LIMIT} letters are held at once: there"
            " may be more that is meant. Redrive or purge first what stands before it",
            file=sys.stderr,
        )
    return FAILED if incomplete else 0


async def _show_assets(store: AssetStore, queue: str, letter: DeadLetter) -> None:
    subjects = subjects_of(queue, letter.received.body)
    recorded = await store.get_recording(subjects.recording_id) if subjects.recording_id else None
    for asset_id in {*subjects.asset_ids, *([recorded.asset_id] if recorded else [])}:
        print(report.with_asset(await store.get(asset_id), await store.timeline(asset_id)))


async def redrive(task: Task) -> int:
    """Back to the queue they came from: by SQS itself where all are meant and it can, else one by one."""
    if task.dry_run:
        return await show_groups(task)
    if task.selection.everything and task.pace.fits_sqs:
        move = await moves.move_by_sqs(task.dead, task.source, task.pace, task.stop, _progress)
        if move is not None:
            print(f"{task.dead.name}: {move.moved} moved by SQS to {task.source.name}, {move.status} {move.failure}")
            return 0 if move.status == "COMPLETED" else FAILED
    tally = report.Tally()
    try:
        incomplete = await moves.move_one_by_one(
            task.dead, task.source, task.selection, task.pace, task.stop, tally.add
        )
    finally:
        print(f"{task.dead.name}: {tally.total} moved to {task.source.name}")
    return _completeness(task, incomplete=incomplete)


async def _progress(move: Move) -> None:
    print(f"{move.moved} of about {move.total} moved by SQS", file=sys.stderr)


async def purge(task: Task) -> int:
    """Away for good; what goes is told by reason."""
    if task.dry_run:
        return await show_groups(task)
    tally = report.Tally()
    try:
        incomplete = await moves.purge(task.dead, task.selection, task.stop, tally.add)
    finally:
        print(f"{task.dead.name}: {tally.total} deleted")
    if tally.total:
        print(tally.table())
    return _completeness(task, incomplete=incomplete)


COMMANDS = {"list": show_groups, "show": show_letters, "redrive": redrive, "purge": purge}


def _queue(text: str) -> str:
    name = text.removesuffix("-dlq")
    if name not in QUEUES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(QUEUES)}")
    return name


def _age(text: str) -> float:
    if not (match := _AGE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 90s, 30m, 2h or 3d")
    return float(match[1]) * _UNITS[match[2]]


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not SLOWEST <= rate <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages a second from {SLOWEST:g} to {FASTEST:g}")
    return rate


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty one would mean all letters; leave --reason out for that")
    return text


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m consumer.dlq", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("queue", type=_queue, metavar="QUEUE", help=f"one of {', '.join(QUEUES)}")
    parser.add_argument("--reason", type=_reason, help="only this error code, or reasons that contain this text")
    parser.add_argument("--older-than", type=_age, metavar="AGE", help="only those dead for longer: 90s, 30m, 2h, 3d")
    parser.add_argument("--dry-run", action="store_true", help="redrive, purge: only say what would go")
    parser.add_argument("--rate", type=_rate, metavar="N", help="redrive: at most N messages a second")
    options = parser.parse_args(arguments)
    for name, commands in GOES_WITH.items():
        if getattr(options, name) and options.command not in commands:
            parser.error(f"--{name.replace('_', '-')} goes with {' and '.join(commands)} only")
    return options


async def run(options: argparse.Namespace, settings: Settings) -> int:
    """Carry out one command; a first signal ends it in order, a second one at once."""
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(interruptible())
        queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
        task = Task(
            queue=options.queue,
            source=queues[options.queue],
            dead=queues.dead_letters(options.queue),
            selection=Selection(options.reason, options.older_than),
            pace=moves.Pace(options.rate),
            dry_run=options.dry_run,
            stop=stop,
            settings=settings,
        )
        status = await COMMANDS[options.command](task)
    if stop.is_set():
        print("interrupted: there may be more than was told; what was not done yet stays as it was", file=sys.stderr)
        return INTERRUPTED
    return status


def main() -> int:
    options = parsed(sys.argv[1:])
    return ended(lambda settings: run(options, settings))


if __name__ == "__main__":
    sys.exit(main())
