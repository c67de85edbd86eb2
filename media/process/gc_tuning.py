"""Thresholds of Python's garbage collector. Calls and requests allocate much, and leave no reference cycles."""

import gc

YOUNGEST, MIDDLE, OLDEST = 20_000, 50, 100
"""Allocations before a collection of the youngest generation, and collections of one before one of the next.

Python's defaults of 700, 10 and 10 cost a tenth of a receive loop's time. These delay the release of a few MB at most.
"""


def relax() -> None:
    """Never collect what exists now, and the rest less often. To be called once everything is wired."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST, MIDDLE, OLDEST)
