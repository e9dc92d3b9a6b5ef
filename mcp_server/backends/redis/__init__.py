"""Tasks in Redis, carried by Docket: any number of replicas and workers on any machine.

    connection.py  clients for every kind of URL, and what Redis's errors mean
    layout.py      how a task lies in Redis
    scripts.py     one typed stub for each script in lua/
    backend.py     the seam's methods on top of these
    pubsub.py      wake-ups over one pub/sub connection
    claiming.py    admission in our order and limits, execution by Docket
    fleet.py       who is alive and what each runs

Each task has a hash (its record) and a stream (its log; entry `N-0` is event N). All
keys carry one hash tag, so in a Redis Cluster a store lies on one shard, whole: a
script can change a record, its log, the lists and the queue in one step, and nothing
has to be repaired afterwards. To use more shards, use more stores (`prefix`).

This package is the only one that imports `redis` or `docket`.
"""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
