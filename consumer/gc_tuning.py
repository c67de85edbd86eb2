"""How often Python looks for garbage that refers to itself. Calls to AWS allocate much and leave none of it."""

import gc

YOUNGEST, MIDDLE, OLDEST = 20_000, 50, 100
"""Allocations before a look at the youngest, and looks at one generation before one at the next. Python's own 700, 10
and 10 cost a tenth of a receive loop's time; these hold back a few MB at most."""


def relax() -> None:
    """Leave alone what exists now, for good, and look at the rest less often. Called once everything is wired."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST, MIDDLE, OLDEST)
