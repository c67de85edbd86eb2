"""`replay ASSET_ID…`: open a new round for assets that failed or stand still.

The stage is queued again with attempts from zero, and its message goes out through the outbox.
"""

import functools
import sys
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

import click
from pydantic import BaseModel

from consumer.cli.command import ExitStatus, Operation, examples, interruptible, json_option, require_schema
from media.asset import Stage
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.asset_store.recovery import Replays
from media.aws.clients import Clients
from media.aws.sqs import MessageQueues
from media.errors import UnavailableError
from media.outbox import EffectKind, Outbox
from media.settings import Settings
from media.stage_requests import request

_EXAMPLE_ID = "5f0c1a52-6f3e-4c55-9d0b-0d4a2f6f8c11"


class Replayed(BaseModel):
    """What became of one asset. `detail` is why it is not queued, or why its message waits in the outbox."""

    asset_id: UUID
    queued: bool
    stage: Stage | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replays assets one by one."""

    assets: AssetStore
    replays: Replays
    outbox: Outbox

    async def replay(self, asset_id: UUID, stage: Stage | None) -> Replayed:
        """Queue a stage of an asset anew: the named one, else the one at fault.

        With SQS away it is queued all the same. Raises UnavailableError when the database is; nothing has changed then.
        """

        def refuse(detail: str) -> Replayed:
            return Replayed(asset_id=asset_id, queued=False, stage=stage, detail=detail)

        asset = await self.assets.get(asset_id)
        if asset is None:
            return refuse("there is no such asset")
        chosen = stage or await self.replays.stage_at_fault(asset_id)
        if chosen is None:
            return refuse(f"it is {asset.status}, and no stage of it is open or failed")
        rows = await self.replays.reopen(asset_id, chosen, "by an operator", [request(chosen, asset)])
        if not rows:
            return refuse(
                f"it is {asset.status}; {chosen} is at work, or was never reached, or what has ended stays as it is"
            )
        detail = ""
        try:
            await self.outbox.dispatch(rows)
        except UnavailableError as error:
            detail = str(error)
        return Replayed(asset_id=asset_id, queued=True, stage=chosen, detail=detail)


@click.command(epilog=examples(f"replay {_EXAMPLE_ID}", f"replay {_EXAMPLE_ID} --stage scan --json"))
@click.argument("asset_ids", type=click.UUID, nargs=-1, required=True, metavar="ASSET_ID...")
@click.option(
    "--stage", type=click.Choice([stage.value for stage in Stage]), help="Instead of the one that failed or is open."
)
@json_option
def replay(asset_ids: Sequence[UUID], stage: str | None, *, as_json: bool) -> Operation:
    """Open a new round for assets that failed or stand still.

    What is ready, rejected or at work stays as it is. While SQS is away, a consumer sends the message later.
    """
    return functools.partial(_run, dict.fromkeys(asset_ids), Stage(stage) if stage else None, as_json)


async def _run(asset_ids: Iterable[UUID], stage: Stage | None, as_json: bool, settings: Settings) -> int:
    """Replay each once; return the exit status. A first signal ends it after the asset that is at hand."""
    await require_schema(settings)
    all_queued = True
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(interruptible())
        database = await stack.enter_async_context(
            connect(
                settings.database_url, application="media-replay", statement_cache=settings.database_statement_cache
            )
        )
        queues = MessageQueues(await Clients(settings, stack).sqs(), settings.queue_urls())
        replays = Replays(database)
        replayer = Replayer(AssetStore(database), replays, Outbox(database, {EffectKind.SEND: queues.send_rows}))
        for asset_id in asset_ids:
            if stop.is_set():
                print(f"interrupted: {asset_id} and what follows stay as they are", file=sys.stderr)
                return ExitStatus.INTERRUPTED
            try:
                replayed = await replayer.replay(asset_id, stage)
            except UnavailableError:
                print(f"{asset_id} and what follows: not replayed", file=sys.stderr)
                raise
            later = f"; a consumer sends its message later: {replayed.detail}" if replayed.detail else ""
            if as_json:
                print(replayed.model_dump_json())
            elif replayed.queued:
                print(f"{asset_id}: {replayed.stage} queued{later}")
            else:
                print(f"{asset_id}: not replayed: {replayed.detail}", file=sys.stderr)
            all_queued = all_queued and replayed.queued
    return ExitStatus.DONE if all_queued else ExitStatus.INCOMPLETE
