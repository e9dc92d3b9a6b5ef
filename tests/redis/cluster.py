"""A Redis Cluster of a test's own: three masters on free ports, each with a third of the slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .server import RedisServer, free_port, redis_server
from .tls import Certificate

__all__ = ["RedisCluster", "redis_cluster"]

SLOTS = 16384
MASTERS = 3


@dataclass(frozen=True)
class RedisCluster:
    """Masters that know each other and cover all slots. `port` is where the first of them listens for clients."""

    nodes: Sequence[RedisServer]
    port: int

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.port}"

    def flush(self) -> None:
        """Empty it."""
        for node in self.nodes:
            node.command("FLUSHALL")


@contextmanager
def redis_cluster(directory: Path, *options: str, tls: Certificate | None = None) -> Iterator[RedisCluster]:
    """With `tls`, clients and the nodes among themselves speak it."""
    nodes: list[RedisServer] = []
    ports: list[int] = []
    with ExitStack() as stack:
        for number in range(MASTERS):
            lines = ["cluster-enabled yes", *options]
            if tls is not None:
                ports.append(free_port())
                lines += ["tls-cluster yes", *tls.options(ports[-1])]
            nodes.append(stack.enter_context(redis_server(directory / str(number), *lines)))
        ports = ports or [node.port for node in nodes]
        _join(nodes, ports)
        yield RedisCluster(nodes, ports[0])


def _join(nodes: Sequence[RedisServer], ports: Sequence[int]) -> None:
    """Share the slots out and wait until every node has heard of it."""
    for number, node in enumerate(nodes):
        slots = range(number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS)
        node.command("CLUSTER", "ADDSLOTS", *map(str, slots))
        # Else they would have to agree on who is right about the slots, which takes them seconds.
        node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        node.command("CLUSTER", "MEET", "127.0.0.1", str(ports[0]))
    for node in nodes:
        node.wait_for("cluster_state:ok", "CLUSTER", "INFO")
