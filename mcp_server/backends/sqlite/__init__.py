"""Tasks in a SQLite file: the embedded default.

    database.py    the file: opening, migrating, transactions, what its errors mean
    lanes.py       group commit of the writes that wait, and reads beside it
    operations.py  what one request does inside a transaction
    queries.py     what one read does
    claiming.py    claims due tasks, runs them, keeps their leases
    backend.py     the seam's methods on top of these

The statements are in `statements.sql`, the schema in `migrations`.
"""

from .backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
