"""Log lines that name the code that blocks the event loop.

An `async def` task that computes without awaiting holds up every other task and every
reader. A thread of its own notices when the loop stops turning and logs where it stands.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback

import anyio

__all__ = ["watch_loop"]

logger = logging.getLogger(__name__)


async def watch_loop(threshold: float = 1.0) -> None:
    """Log a warning with the stack when this event loop does not turn for `threshold` seconds. Runs until cancelled."""
    loop_thread, stop = threading.get_ident(), threading.Event()
    turned = time.monotonic()

    def look() -> None:
        named = 0.0
        while not stop.wait(threshold / 2):
            since = turned
            if time.monotonic() - since > threshold and named != since:
                named = since
                stack = "".join(traceback.format_stack(sys._current_frames()[loop_thread], limit=12))
                logger.warning("the event loop has been blocked for more than %g s, here:\n%s", threshold, stack)

    thread = threading.Thread(target=look, name="longtasks-watchdog", daemon=True)
    thread.start()
    try:
        while True:
            await anyio.sleep(threshold / 4)
            turned = time.monotonic()
    finally:
        stop.set()
