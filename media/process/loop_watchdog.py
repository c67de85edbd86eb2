"""Ends a process whose event loop hangs, with the stack of every thread on standard error.

Such a loop answers no health check, renews no lease and hears no SIGTERM. The process is better replaced: nothing is
lost, since its messages return to their queues by themselves.

Code that holds the interpreter's lock, such as a parser in C, lets no thread of Python run, but it uses the processor:
the kernel's timer counts that. Code that waits without the lock, such as a system call, uses none: a thread counts the
time. Neither counts while the process is stopped (SIGSTOP, gdb, a frozen container, a suspended machine) or gets no
processor. A timer of the clock, such as `faulthandler.dump_traceback_later`, would end a process that is continued.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

HANG_LIMIT = 60.0
"""Seconds without a turn of the event loop after which the process ends."""
STEPS = 12
"""Turns that the loop takes within the limit at least. A process that was stopped counts one step for all that time."""
STDERR = 2


async def run_watched[T](work: Coroutine[Any, Any, T], limit: float = HANG_LIMIT) -> T:
    """Await `work`. When the loop hangs for `limit` seconds, write the stacks and end by SIGPROF."""
    loop, step = asyncio.get_running_loop(), limit / STEPS
    closing = threading.Event()
    missed_turns = 0
    next_turn: asyncio.TimerHandle

    def turn() -> None:
        nonlocal missed_turns, next_turn
        missed_turns = 0
        signal.setitimer(signal.ITIMER_PROF, limit)
        next_turn = loop.call_later(step, turn)

    def count() -> None:
        nonlocal missed_turns
        while not closing.wait(step):
            missed_turns += 1
            if missed_turns > STEPS and "bdb" not in sys.modules:  # pdb's prompt holds the loop too
                os.kill(os.getpid(), signal.SIGPROF)

    # The handler runs without the interpreter's lock, and then lets the signal do what it does by default: end.
    faulthandler.register(signal.SIGPROF, file=STDERR, all_threads=True, chain=True)
    turn()
    threading.Thread(target=count, name="loop-watchdog", daemon=True).start()
    try:
        return await work
    finally:
        closing.set()
        next_turn.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
