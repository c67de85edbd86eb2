"""`reconcile-storage [--repair]`: compare the objects in S3 with the database, both ways, and repair what differs."""

import functools
import sys
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
from pydantic import BaseModel

from consumer.cli.command import (
    ExitStatus,
    Operation,
    examples,
    interruptible,
    json_option,
    parse_age,
    require_schema,
)
from consumer.maintenance.storage_check import MEANINGS, Discrepancy, Problem, StorageCheck
from consumer.maintenance.storage_listing import StorageListing
from consumer.maintenance.storage_repair import StorageReconciler
from media.asset_store.assets import AssetStore
from media.asset_store.database import connect
from media.asset_store.recovery import Recovery, Replays
from media.aws.clients import Clients
from media.aws.s3 import ObjectStorage
from media.aws.sqs import MessageQueues
from media.errors import MediaError
from media.outbox import EffectKind, Outbox
from media.settings import Settings
from media.stage_endings import EndingRules


class Found(BaseModel):
    """A problem of an asset. `error` is why it could not be repaired."""

    asset_id: UUID
    owner_id: str
    problem: Problem
    detail: str
    repaired: bool
    error: str = ""

    @classmethod
    def of(cls, discrepancy: Discrepancy, *, repaired: bool = False, error: str = "") -> "Found":
        return cls(
            asset_id=discrepancy.path.asset_id,
            owner_id=discrepancy.path.owner_id,
            problem=discrepancy.problem,
            detail=discrepancy.detail,
            repaired=repaired,
            error=error,
        )

    def text(self) -> str:
        end = f" (not repaired: {self.error})" if self.error else " (repaired)" if self.repaired else ""
        return f"{self.asset_id}: {self.problem}{f' {self.detail}' if self.detail else ''}{end}"


class Summary(BaseModel):
    """What a comparison found so far. Unless `finished`, it was interrupted."""

    finished: bool = False
    assets: int = 0
    objects: int = 0
    problems: dict[Problem, int] = {}
    repaired: int = 0
    failed: int = 0

    def add(self, found: Found) -> None:
        self.problems[found.problem] = self.problems.get(found.problem, 0) + 1
        self.repaired += found.repaired
        self.failed += bool(found.error)

    def text(self) -> str:
        head = f"{self.assets} assets with {self.objects} objects compared, {self.repaired} problems repaired"
        lines = [f"{count:>6}  {problem}: {MEANINGS[problem]}" for problem, count in sorted(self.problems.items())]
        return "\n".join([f"{head}, {self.failed} could not be, because of an error", *lines])


@click.command(
    "reconcile-storage",
    epilog=examples("reconcile-storage", "reconcile-storage --repair --json", "reconcile-storage --repair --grace 0s"),
)
@click.option("--repair", is_flag=True, help="Repair what is found. Without it nothing is changed.")
@click.option(
    "--grace",
    type=parse_age,
    default="1h",
    show_default=True,
    metavar="AGE",
    help="Leave alone what changed within AGE: its messages are on their way. 0s after a restore, while nothing runs.",
)
@json_option
def reconcile_storage(*, repair: bool, grace: float, as_json: bool) -> Operation:
    """Compare the objects in S3 with the database, both ways.

    It finds uploads that the database does not know, assets whose objects are gone, outputs that nothing serves, and
    work that nobody holds. After a restore of the database, run it with --repair --grace 0s before the services start.
    It then also raises the number of every asset's events, so that nobody takes what follows for old.
    """
    return functools.partial(reconcile, repair, grace, as_json)


async def reconcile(repair: bool, grace: float, as_json: bool, settings: Settings) -> int:
    """Compare everything once; return the exit status. A first signal ends it after the asset that is at hand."""
    await require_schema(settings)
    summary = Summary()
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(interruptible())
        reconciler = await _open_reconciler(settings, datetime.now(UTC) - timedelta(seconds=grace), stack)
        if repair and not await reconciler.recovery.has_assets():
            print("the database knows no asset at all: is it the right one? Nothing was changed", file=sys.stderr)
            return ExitStatus.INCOMPLETE
        if repair and not grace:
            await reconciler.recovery.raise_event_sequences()
        compared = await stack.enter_async_context(aclosing(reconciler.compare()))
        async for stored, discrepancies in compared:
            summary.assets += 1
            summary.objects += stored.objects
            results = [Found.of(discrepancy) for discrepancy in discrepancies]
            if repair and discrepancies:
                try:
                    now = await reconciler.repair(stored.path)
                    results = [Found.of(one, repaired=one.problem is not Problem.ORIGINAL_GONE) for one in now]
                except MediaError as error:
                    results = [Found.of(discrepancy, error=str(error)) for discrepancy in discrepancies]
            for found in results:
                summary.add(found)
                print(found.model_dump_json() if as_json else found.text())
            if stop.is_set():
                break
        summary.finished = not stop.is_set()
    print(summary.model_dump_json() if as_json else summary.text())
    if not summary.finished:
        print("interrupted: what was repaired stays repaired; run it again for the rest", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    return ExitStatus.INCOMPLETE if summary.failed else ExitStatus.DONE


async def _open_reconciler(settings: Settings, before: datetime, stack: AsyncExitStack) -> StorageReconciler:
    clients = Clients(settings, stack)
    database = await stack.enter_async_context(
        connect(settings.database_url, application="media-reconcile", statement_cache=settings.database_statement_cache)
    )
    queues = MessageQueues(await clients.sqs(), settings.queue_urls())
    bucket = settings.output_bucket
    return StorageReconciler(
        dsn=settings.database_url,
        listing=StorageListing(ObjectStorage(await clients.s3()), bucket, settings.quarantine_bucket),
        check=StorageCheck(bucket, before),
        recovery=Recovery(database),
        assets=AssetStore(database),
        replays=Replays(database),
        # Only messages are sent from here. Removals wait for a consumer.
        outbox=Outbox(database, {EffectKind.SEND: queues.send_rows}),
        rules=EndingRules(bucket, settings.max_attempts),
    )
