"""A scripted model behind the wire formats of real ones, on loopback: it calls one tool, and then obeys `next`."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.hosts.dialects import DIALECTS, Act, Conversation, Event
from tests.mcp.obedient import named_call

__all__ = ["ScriptedModel"]


class ScriptedModel:
    """A model and the log of its rounds.

    Args:
        tool: the tool it calls first; hosts put the name of the server before that of the tool.
        goal: a part of the answer it works for.
    """

    def __init__(self, tool: str, arguments: dict[str, Any], goal: str) -> None:
        self._first = (tool, arguments)
        self._goal = goal
        self.rounds: list[tuple[Conversation, Act]] = []

    @property
    def reached_its_goal(self) -> bool:
        return bool(self.rounds) and self._goal in "".join(self.rounds[-1][0].answers[-1:])

    @property
    def calls(self) -> list[Act]:
        return [act for _, act in self.rounds if act.tool is not None]

    def definitions(self, names: Collection[str]) -> int:
        """Characters of the definitions of some tools, as the model was shown them last."""
        shown = self.rounds[-1][0].tools if self.rounds else {}
        ours = [tool for name, tool in shown.items() if name.endswith(tuple(names))]
        return sum(len(json.dumps(tool, ensure_ascii=False)) for tool in ours)

    def act(self, conversation: Conversation) -> Act:
        """The next step of a conversation."""
        if not conversation.tools:
            return Act(text="A report")  # a host asks for a title, or which model to use
        last = conversation.answers[-1] if conversation.answers else ""
        # A host may have put the answer, JSON, into a string of JSON.
        said = self._first if not conversation.answers else named_call(last.replace("\\", ""))
        if self._goal in last or said is None:
            act = Act(text=f"That is all: {last[-300:]}")
        else:
            names = [name for name in conversation.tools if name.endswith(said[0])]
            act = Act(tool=names[0], arguments=said[1]) if names else Act(text=f"There is no tool {said[0]}")
        self.rounds.append((conversation, act))
        return act

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Serve on a free port; the base URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def _handler(model) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Hosts ask for a lot; nothing of it is worth a line."""

            def do_GET(self) -> None:
                self._send("application/json", b'{"data": [{"id": "scripted", "object": "model"}], "models": []}')

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.split("?")[0]
                dialect = next((found for end, found in DIALECTS.items() if path.endswith(end)), None)
                if dialect is None:
                    self._send("application/json", b'{"input_tokens": 1}')
                    return
                request = json.loads(body)
                act = model.act(dialect.read(request))
                self._send("text/event-stream", _stream(dialect.write(act, request)))

            def _send(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _stream(events: list[Event]) -> bytes:
    lines = []
    for name, data in events:
        said = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        lines.append((f"event: {name}\n" if name else "") + f"data: {said}\n\n")
    return "".join(lines).encode()
