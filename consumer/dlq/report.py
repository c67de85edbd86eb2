"""Turns dead letters into text for a terminal."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from media.asset import Asset, TimelineEntry
from media.dead_letters.dead_letter import DeadLetter

BODY_LIMIT = 2000
"""Characters of a body that are shown."""
REASON_LIMIT = 100
MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(slots=True)
class Group:
    """Letters that died for the same reason."""

    count: int = 0
    oldest: float = float("inf")
    newest: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts letters by why they died."""

    groups: dict[tuple[str, str], Group] = field(default_factory=dict)

    def add(self, letter: DeadLetter) -> None:
        group = self.groups.setdefault((letter.error, letter.group.text[:REASON_LIMIT]), Group())
        group.count += 1
        group.oldest, group.newest = min(group.oldest, letter.died), max(group.newest, letter.died)

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups.values())

    def table(self, now: float | None = None) -> str:
        """One line for each reason, the most frequent first."""
        moment = time.time() if now is None else now
        lines = [f"{'count':>6}  {'oldest':>7}  {'newest':>7}  {'error':<20}  reason"]
        for (error, kind), group in sorted(self.groups.items(), key=lambda item: -item[1].count):
            ages = f"{age(moment - group.oldest):>7}  {age(moment - group.newest):>7}"
            lines.append(f"{group.count:>6}  {ages}  {plain(error):<20}  {plain(kind)}".rstrip())
        return "\n".join(lines)


def plain(text: str) -> str:
    """A stranger's text for a terminal: what would move its cursor, colour it or turn its direction is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def age(seconds: float) -> str:
    """A duration in its largest unit."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def described(letter: DeadLetter) -> str:
    """Everything that a letter says by itself."""
    body = letter.received.body
    cut = plain(body[:BODY_LIMIT]) + (f"… ({len(body)} characters)" if len(body) > BODY_LIMIT else "")
    return "\n".join(
        [
            f"message {letter.received.message_id}",
            f"  error   {plain(letter.error)}",
            f"  reason  {plain(letter.reason) or '-'}",
            f"  came    {_moment(letter.first_received)}, died {_moment(letter.died)}",
            f"  tenant  {plain(letter.received.group_id) or '-'}",
            f"  body    {cut}",
        ]
    )


def with_asset(asset: Asset | None, timeline: Sequence[TimelineEntry]) -> str:
    """The asset behind a letter, with all that happened to it."""
    if asset is None:
        return "  asset   none that is known"
    head = f"  asset   {asset.asset_id}  {asset.asset_type}, {asset.status}"
    code = f" ({asset.code}: {plain(asset.detail or '')})" if asset.code else ""
    return "\n".join([head + code, *(f"    {_entry(entry)}" for entry in timeline)])


def _entry(entry: TimelineEntry) -> str:
    stage = f"{entry.stage}-{entry.attempt}" if entry.stage and entry.attempt else entry.stage or ""
    return f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {stage:<12} {entry.code:<16} {plain(entry.detail)}".rstrip()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else "-"
