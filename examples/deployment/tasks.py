"""The application of the deployment example: every replica and every worker runs this file.

The work is safe to do again: each step has a name that is the same in every attempt,
and the other side (here a directory) keeps one result per name.
"""

import os
import time
from pathlib import Path

from mcp_server import LongTaskServer, SyncTaskContext

server = LongTaskServer("deployment")
RESULTS = Path(os.environ.get("RESULTS", "results"))


@server.task(timeout=3600, retries=2)
def render(pages: int, *, task: SyncTaskContext) -> dict[str, int]:
    """Render some pages, one file each."""
    RESULTS.mkdir(exist_ok=True)
    done = task.state or 0
    for page in range(done, pages):
        time.sleep(0.2)
        # Written under the same name by every attempt: doing it twice changes nothing.
        (RESULTS / f"{task.id}-{page}.txt").write_text(f"page {page}\n")
        task.checkpoint(page + 1)
        task.report(page + 1, total=pages, message=f"page {page + 1}")
    return {"pages": pages}
