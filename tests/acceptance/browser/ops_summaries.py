"""A summary with every kind of trouble, for the operator's view."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from playwright.async_api import Page

from api.schemas.ops import ConsumerOut, DeadLettersOut, OpsSummary, QueueOut, StuckOut, UnfinishedOut

SUMMARY = "**/api/v1/media/ops/summary"
ENDLESS = "s3://a-bucket-whose-name-never-seems-to-end/" + "and-a-key-that-goes-on-" * 5


async def show_summary(page: Page, summary: OpsSummary) -> None:
    """Answer the view's requests with this summary, and refresh the view."""
    await page.route(
        SUMMARY, lambda route: route.fulfill(body=summary.model_dump_json(), content_type="application/json")
    )
    async with page.expect_response(SUMMARY):
        await page.get_by_role("button", name="Refresh now").click()


def failing_summary(asset_id: UUID | None = None) -> OpsSummary:
    now = datetime.now(UTC)
    asset = asset_id or uuid4()
    return OpsSummary(
        at=now,
        queues=[
            _queue("uploads", 1204, 32),
            _queue("images", 18, 6, _dead(now, "attempts_exhausted", 40, f"cannot read {ENDLESS}", asset)),
            _queue("transcodes", 3, 2),
            _queue("transcode-events", 0, 0),
            _queue(
                "recordings", 0, 1, _dead(now, "undecodable", 7, "host_id: Field required"), _dead(now, "new", 2, "")
            ),
        ],
        oldest_unfinished=UnfinishedOut(
            asset_id=asset,
            asset_type="video",
            status="processing",
            created_at=now - timedelta(hours=3),
            seconds=10_900,
        ),
        stuck=[_stuck(asset, "transcode", "waiting", 8_100), _stuck(uuid4(), "scan", "queued", 700)],
        consumers=[
            _consumer(now, "ip-10-0-1-90.eu-central-1.compute.internal-7-a1b2c3", 4, ["clamd"]),
            _consumer(now, "ip-10-0-2-4.eu-central-1.compute.internal-7-d4e5f6", 7, phase="draining"),
            _consumer(now, "ip-10-0-3-17.eu-central-1.compute.internal-7-a7b8c9", 95),
        ],
    )


def _queue(name: str, backlog: int, in_flight: int, *groups: DeadLettersOut) -> QueueOut:
    dead = sum(group.count for group in groups)
    return QueueOut(
        name=name, backlog=backlog, in_flight=in_flight, dead=dead, dead_by_reason=list(groups), dead_looked_at=dead
    )


def _dead(now: datetime, code: str, count: int, reason: str, asset: UUID | None = None) -> DeadLettersOut:
    return DeadLettersOut(
        code=code,
        reason=reason,
        count=count,
        oldest_at=now - timedelta(hours=5),
        newest_at=now - timedelta(minutes=3),
        example_asset_id=asset,
        example_message_id=str(uuid4()),
    )


def _stuck(asset: UUID, stage: str, state: str, seconds: float) -> StuckOut:
    return StuckOut(
        asset_id=asset,
        asset_type="video",
        status="processing",
        stage=stage,
        state=state,
        attempt=2,
        nudges=3,
        seconds=seconds,
    )


def _consumer(
    now: datetime, name: str, seconds: float, breakers: list[str] | None = None, phase: str = "running"
) -> ConsumerOut:
    return ConsumerOut(
        consumer_id=name,
        started_at=now - timedelta(hours=30),
        seen_at=now - timedelta(seconds=seconds),
        seconds=seconds,
        alive=seconds <= 30,
        phase=phase,
        open_breakers=breakers or [],
        in_flight=12,
    )
