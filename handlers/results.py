"""Results of handlers that work without a claim.

The handler writes nothing; the consumer does (`consumer/stages/`). A handler under a claim returns a `Commit` instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from media.asset_store.assets import NewAsset, StoredObject
from media.asset_store.stages import Note
from media.outbox import Effect


@dataclass(frozen=True, slots=True)
class Progress:
    """A job is under way: its percentage, and new notes for the timeline."""

    percent: int
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """Only the timeline changes. `effects` follow from the note."""

    note: Note
    effects: Sequence[Effect] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """An event of a job that no stage waits for. `orphaned_attempt` is the attempt whose outputs must go, or None."""

    job_id: str
    orphaned_attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """The message was handled before. Effects of that time that are still in the outbox must be dispatched."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event does not concern this service."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An object that belongs to an asset. `new` is the asset to register first, if any.

    `sent_at` is Unix seconds of the message that announced it, 0 if unknown.
    """

    stored: StoredObject
    note: str
    new: NewAsset | None = None
    sent_at: float = 0.0
