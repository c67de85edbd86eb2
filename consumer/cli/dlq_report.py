"""Describes dead letters, as text for a terminal and as JSON. Fields are named as in the API's `ops` endpoints."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from media.asset import Asset, AssetType, Status, TimelineEntry
from media.dead_letters.dead_letter import DeadLetter, ReasonGroup, ReasonGroups

BODY_LIMIT = 2000
"""Characters of a body that a terminal gets."""
MINUTE, HOUR, DAY = 60, 3600, 86_400


class QueueReport(BaseModel):
    """What a command found or moved. Unless `finished`, it was cut short, and more dead letters may match."""

    queue: str
    finished: bool
    found: int | None = None
    moved: int | None = None
    deleted: int | None = None
    dead_by_reason: Sequence[ReasonGroup] | None = None


def table(groups: ReasonGroups) -> str:
    """Write a line for each reason, the most frequent first; nothing when there is none. Begins with a line break."""
    if not groups.total:
        return ""
    now = datetime.now(UTC)
    lines = ["", f"{'count':>6}  {'oldest':>7}  {'newest':>7}  {'error':<20}  reason"]
    for group in groups.largest_first():
        ages = f"{age(now - group.oldest_at):>7}  {age(now - group.newest_at):>7}"
        lines.append(f"{group.count:>6}  {ages}  {plain(group.code):<20}  {plain(group.reason)}".rstrip())
    return "\n".join(lines)


def plain(text: str) -> str:
    """Spell out what would move a terminal's cursor, color it or turn its direction: strangers wrote the text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def age(duration: timedelta) -> str:
    """Write a duration in its largest unit."""
    seconds = duration.total_seconds()
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


class AssetHistory(BaseModel):
    """The asset behind a dead letter, with all that happened to it."""

    asset_id: UUID
    asset_type: AssetType
    status: Status
    code: str | None
    detail: str | None
    timeline: list[TimelineEntry]

    @classmethod
    def of(cls, asset: Asset, timeline: Sequence[TimelineEntry]) -> Self:
        return cls(
            asset_id=asset.asset_id,
            asset_type=asset.asset_type,
            status=asset.status,
            code=asset.code,
            detail=asset.detail,
            timeline=list(timeline),
        )

    def text(self) -> str:
        code = f" ({self.code}: {plain(self.detail or '')})" if self.code else ""
        head = f"  asset   {self.asset_id}  {self.asset_type}, {self.status}{code}"
        lines = [head]
        for entry in self.timeline:
            at = f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            stage = f"{entry.stage}-{entry.attempt}" if entry.stage and entry.attempt else entry.stage or ""
            lines.append(f"    {at}  {stage:<12} {entry.code:<16} {plain(entry.detail)}".rstrip())
        return "\n".join(lines)


class DeadLetterReport(BaseModel):
    """A dead letter with the assets that it is about."""

    message_id: str
    code: str
    reason: str
    first_received_at: datetime | None
    died_at: datetime | None
    owner_id: str
    body: str
    assets: list[AssetHistory]

    @classmethod
    def of(cls, dead_letter: DeadLetter, assets: list[AssetHistory]) -> Self:
        return cls(
            message_id=dead_letter.received.message_id,
            code=dead_letter.error,
            reason=dead_letter.reason,
            first_received_at=_moment(dead_letter.first_received),
            died_at=_moment(dead_letter.died),
            owner_id=dead_letter.received.group_id or "",
            body=dead_letter.received.body,
            assets=assets,
        )

    def text(self) -> str:
        more = f"… ({len(self.body)} characters)" if len(self.body) > BODY_LIMIT else ""
        return "\n".join(
            [
                f"message {self.message_id}",
                f"  error   {plain(self.code)}",
                f"  reason  {plain(self.reason) or '-'}",
                f"  came    {_written(self.first_received_at)}, died {_written(self.died_at)}",
                f"  tenant  {plain(self.owner_id) or '-'}",
                f"  body    {plain(self.body[:BODY_LIMIT])}{more}",
                *([asset.text() for asset in self.assets] or ["  asset   none that is known"]),
            ]
        )


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _written(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "-"
