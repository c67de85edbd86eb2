"""What a handler that works without a claim hands back: what is to be written, and by whom it is not written.

The consumer writes it (`consumer/stages/`). A handler that works under a claim returns a `Commit` instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from media.asset_store.assets import NewAsset, StoredObject
from media.asset_store.stages import Note
from media.outbox import Effect


@dataclass(frozen=True, slots=True)
class Progress:
    """A job goes on: how far it is, and what is new on the timeline."""

    percent: int
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """Nothing changes but the timeline; `effects` follow from the note."""

    note: Note
    effects: Sequence[Effect] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """News of a job that nobody waits for. `orphaned_attempt` is the attempt whose outputs must go, None for none."""

    job_id: str
    orphaned_attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """It was done before; what an earlier delivery left in the outbox is still to be sent."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """It says nothing to this service."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An object that belongs to an asset: `new` where the asset has to be registered first.

    `sent_at` is Unix seconds of the message that told of it, 0 where nothing says so.
    """

    stored: StoredObject
    note: str
    new: NewAsset | None = None
    sent_at: float = 0.0
