"""A module that starts a thread when it is imported, as some libraries do: a process that did so is not forked."""

from __future__ import annotations

import os
import threading

threading.Thread(target=threading.Event().wait, name="started by an import", daemon=True).start()


def parent() -> int:
    return os.getppid()
