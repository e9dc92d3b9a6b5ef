"""A real `redis-server` of a test's own: a process on a free port, its files in the test's directory.

`LONGTASKS_TEST_REDIS_SERVER` names another program than the one on PATH: an older or newer
Redis, or Valkey. Without any these tests are skipped, saying so; where `CI` is set they fail.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

__all__ = ["RedisServer", "free_port", "redis_server"]

START = 30.0
"""Seconds a server gets to answer."""
CHANCE = random.SystemRandom()
"""`random` itself gives the same numbers in every run under hypothesis, also in two at once."""
PORTS = 11_000, 22_000
"""Below those the system connects from; so are the ports of a cluster's bus, each 10 000 higher."""


class RedisServer:
    """One server that can be stopped, killed and started again on the same port and files.

    Args:
        options: further lines of its configuration, as `name value`.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        named = os.environ.get("LONGTASKS_TEST_REDIS_SERVER")
        program = named or shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            if os.environ.get("CI"):
                pytest.fail("redis-server is not installed")
            pytest.skip("redis-server is not installed")
        self._program, self._directory, self._options = program, directory, options
        directory.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it has loaded its files and answers."""
        for _ in range(5):
            port = self.port or free_port()
            if self._started_on(port):
                self.port = port
                return
            # Somebody else was faster on that port; the first start may move to another.
            assert not self.port, f"redis-server did not come back on port {self.port}"
        raise AssertionError("redis-server did not start")

    def _started_on(self, port: int) -> bool:
        config = self._directory / "redis.conf"
        lines = ["bind 127.0.0.1", f"port {port}", f"dir {self._directory}", 'save ""', *self._options]
        config.write_text("\n".join(lines) + "\n")
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            # On a port that somebody else was given as well, theirs may answer while ours is about to end.
            if self.answers(port) and self._is_ours(port):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def answers(self, port: int | None = None) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port or self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _is_ours(self, port: int) -> bool:
        assert self._process is not None
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\n")
            seen = b""
            while not (found := re.search(rb"process_id:(\d+)\r\n", seen)):
                if not (chunk := connection.recv(4096)):
                    return False
                seen += chunk
            return int(found[1]) == self._process.pid
        return False

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def command(self, *words: str) -> str:
        """Send one command; its answer, a short text or one line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            encoded = [word.encode() for word in words]
            message = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded)
            connection.sendall(message)
            kind, _, text = connection.recv(65536).decode().partition("\r\n")
            return text if kind.startswith("$") else kind

    def wait_for(self, text: str, *words: str) -> None:
        """Send the command until its answer holds `text`."""
        deadline = time.monotonic() + START
        while text not in self.command(*words):
            assert time.monotonic() < deadline, f"{words} never answered {text!r}"
            time.sleep(0.02)


@contextmanager
def redis_server(directory: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(directory, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A port nobody listens on, nor will connect from: it stays free while its server is down."""
    while True:
        port = CHANCE.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
