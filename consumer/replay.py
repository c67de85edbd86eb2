"""`python -m consumer.replay ASSET_ID… [--stage …]`: opens a new round for assets that failed or stand still.

The stage (unless named: the one that failed) is queued again with attempts from zero, and its message goes out through
the outbox. Exit status 0 all were queued, 1 some were not or a dependency is away, 2 wrong usage or configuration, 130
interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from consumer.command import FAILED, INTERRUPTED, ended, interruptible, require_schema
from media.asset import Stage
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.asset_store.replays import Replays
from media.aws import Clients
from media.errors import UnavailableError
from media.message_queue import MessageQueues
from media.outbox import EffectKind, Outbox
from media.settings import Settings
from media.stage_requests import request


class NotReplayedError(Exception):
    """Why an asset stays as it is."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Which stage is queued anew; `unsent` is why its message waits in the outbox, empty when it is on its way."""

    stage: Stage
    unsent: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """Replays assets one by one."""

    assets: AssetStore
    replays: Replays
    outbox: Outbox

    async def __call__(self, asset_id: UUID, stage: Stage | None) -> Replayed:
        """Queue a stage of an asset anew. Raises NotReplayedError; UnavailableError, and nothing has changed."""
        asset = await self.assets.get(asset_id)
        if asset is None:
            raise NotReplayedError("there is no such asset")
        chosen = stage or await self.replays.stage_at_fault(asset_id)
        if chosen is None:
            raise NotReplayedError(f"it is {asset.status}, and no stage of it is open or failed")
        rows = await self.replays.reopen(asset_id, chosen, "by an operator", [request(chosen, asset)])
        if not rows:
            raise NotReplayedError(
                f"it is {asset.status}; {chosen} is at work, or was never reached, or what has ended stays as it is"
            )
        try:
            await self.outbox.carry_out(rows)
        except UnavailableError as error:
            return Replayed(chosen, unsent=str(error))
        return Replayed(chosen)


async def run(asset_ids: Sequence[UUID], stage: Stage | None, settings: Settings) -> int:
    """Replay each once; returns the exit status. A first signal ends it after the asset that is at hand."""
    await require_schema(settings)
    told = True
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(interruptible())
        database = await stack.enter_async_context(connect(settings.database_url, application="media-replay"))
        queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
        outbox = Outbox(database, {EffectKind.SEND: queues.send_rows})
        replay = Replay(AssetStore(database), Replays(database), outbox)
        for asset_id in dict.fromkeys(asset_ids):
            if stop.is_set():
                sys.stderr.write(f"interrupted: {asset_id} and what follows stay as they are\n")
                return INTERRUPTED
            told = await _told(replay, asset_id, stage) and told
    return 0 if told else FAILED


async def _told(replay: Replay, asset_id: UUID, stage: Stage | None) -> bool:
    """Replay one and say what came of it; whether it is queued. Raises UnavailableError for what follows too."""
    try:
        replayed = await replay(asset_id, stage)
    except NotReplayedError as error:
        sys.stderr.write(f"{asset_id}: not replayed: {error}\n")
        return False
    except UnavailableError:
        sys.stderr.write(f"{asset_id} and what follows: not replayed\n")
        raise
    later = f"; a consumer sends its message later: {replayed.unsent}" if replayed.unsent else ""
    sys.stdout.write(f"{asset_id}: {replayed.stage} queued{later}\n")
    return True


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. Exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m consumer.replay", description=__doc__)
    parser.add_argument("asset_ids", type=UUID, nargs="+", metavar="ASSET_ID")
    parser.add_argument("--stage", type=Stage, choices=list(Stage), help="instead of the one that failed")
    return parser.parse_args(arguments)


def main() -> int:
    options = parsed(sys.argv[1:])
    return ended(lambda settings: run(options.asset_ids, options.stage, settings))


if __name__ == "__main__":
    sys.exit(main())
