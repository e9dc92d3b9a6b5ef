"""Tasks in a SQLite file: the embedded default.

    database.py    the file: opening, migrating, transactions, what its errors mean
    writer.py      group commit: whatever waits goes into one transaction
    operations.py  what one request does inside a transaction
    serving.py     claims due tasks, runs them, keeps their leases
    backend.py     the seam's methods on top of these

Only `database.py` and `operations.py` speak SQL; the statements are in `statements.sql`.
"""

from .backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
