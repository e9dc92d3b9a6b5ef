"""The sender of one request: whose tasks they see, and what they may do with them.

`NEEDS` is the one table of operation and scope. The engine asks it before it acts; doors
that can refuse earlier, with a status of their own, ask the same table.

Knows nothing of credentials: where a principal comes from is the business of `edge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from ..errors import InsufficientScope

__all__ = ["ADMIN", "ANONYMOUS", "NEEDS", "READ", "SCOPES", "WRITE", "Principal"]

READ, WRITE, ADMIN = "tasks:read", "tasks:write", "tasks:admin"

SCOPES: Mapping[str, str] = {
    READ: "list and get tasks, their results and streams",
    WRITE: "start, cancel, retry and answer tasks",
    ADMIN: "both, for the tasks of every owner",
}

NEEDS: Mapping[str, str] = {
    "get": READ,
    "list": READ,
    "read": READ,
    "start": WRITE,
    "cancel": WRITE,
    "retry": WRITE,
    "answer": WRITE,
}
"""The scope each operation on tasks needs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The party on whose behalf a request is made.

    Args:
        owner: names whose tasks it sees and starts. A task of another owner does not exist for it.
        scopes: what it may do; `tasks:admin` includes the other two, and every owner's tasks.
        credential: what it showed, by a name that is no secret: `key:ID`, `client:ID`, `ticket`.
        task: the only task it may see; None for all that are the owner's.
        expires_at: seconds since the epoch after which the credential is void; None: never.
    """

    owner: str
    scopes: frozenset[str] = frozenset((READ, WRITE))
    credential: str = ""
    task: str | None = None
    expires_at: float | None = None

    @classmethod
    def of(cls, owner: str, scopes: Iterable[str], *, credential: str = "", expires_at: float | None = None) -> Self:
        """A principal with those of the scopes that are ours."""
        known = frozenset(scopes).intersection(SCOPES)
        return cls(owner, frozenset(SCOPES) if ADMIN in known else known, credential, None, expires_at)

    def require(self, operation: str) -> None:
        """Raise unless the operation is allowed.

        Raises:
            InsufficientScope: its scope is missing; `details["scope"]` names it.
        """
        is_beyond = self.task is not None and operation in ("list", "start")
        if (scope := NEEDS[operation]) not in self.scopes or is_beyond:
            raise InsufficientScope(scope)

    def sees(self, owner: str, task_id: str) -> bool:
        """Whether a task with this owner and id exists for it."""
        if self.task is not None:
            return task_id == self.task and owner == self.owner
        return owner == self.owner or ADMIN in self.scopes

    def as_owner(self) -> Principal:
        """The same without `tasks:admin`: for doors where an administrator is one owner among others."""
        return replace(self, scopes=self.scopes - {ADMIN}) if ADMIN in self.scopes else self


ANONYMOUS = Principal("")
"""Every sender where no authentication is asked for: over stdio, in memory, and over HTTP without authentication."""
