"""Tickets: one task, to be read, for a while."""

from __future__ import annotations

import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.access.principal import READ, WRITE, Principal
from mcp_server.access.tickets import MAX_SECONDS, Tickets

SECRET, OTHER = "a" * 32, "b" * 32


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def test_a_ticket_reads_one_task_until_it_expires() -> None:
    """On every process with the secret; not a task more, and nothing but reading."""
    clock = Clock()
    ticket, expires_at = Tickets([SECRET], clock=clock).issue(Principal("ann"), "ann", "t1")
    replica = Tickets([SECRET], clock=clock)
    found = replica.read(ticket)
    assert found is not None
    assert found.scopes == {READ}
    assert found.sees("ann", "t1")
    assert not found.sees("ann", "t2")
    assert not found.sees("bob", "t1")
    clock.now = expires_at - 1
    assert replica.read(ticket) is not None
    clock.now = expires_at
    assert replica.read(ticket) is None


def test_a_ticket_lives_no_longer_than_an_hour_or_what_paid_for_it() -> None:
    """The shortest of what is asked for, the bound, and the caller's own credential counts."""
    clock = Clock()
    tickets = Tickets(clock=clock)
    assert tickets.issue(Principal("ann"), "ann", "t", seconds=1e9)[1] <= clock.now + MAX_SECONDS
    assert tickets.issue(Principal("ann"), "ann", "t", seconds=60)[1] <= clock.now + 60
    short = Principal("ann", expires_at=clock.now + 5)
    assert tickets.issue(short, "ann", "t")[1] <= clock.now + 5


def test_a_changed_secret_serves_old_tickets_while_it_is_listed() -> None:
    """The first key signs, all of them verify."""
    ticket, _ = Tickets([SECRET]).issue(Principal("ann"), "ann", "t")
    assert Tickets([OTHER, SECRET]).read(ticket) is not None
    assert Tickets([OTHER]).read(ticket) is None
    assert Tickets().read(ticket) is None


def test_a_word_of_another_make_is_no_ticket() -> None:
    """Not one signed by the bare secret, for another purpose, unsigned, or with other claims."""
    claims = {"aud": "longtasks:ticket", "sub": "ann", "task": "t", "exp": int(time.time()) + 60}
    tickets = Tickets([SECRET])
    for forged in (
        jwt.encode(claims, SECRET, algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode({**claims, "aud": "other"}, tickets._keys[0], algorithm="HS256"),
        jwt.encode({"aud": "longtasks:ticket", "sub": "ann"}, tickets._keys[0], algorithm="HS256"),
        jwt.encode({**claims, "task": 7}, tickets._keys[0], algorithm="HS256"),
    ):
        assert tickets.read(forged) is None


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_noise_is_no_ticket(text: str) -> None:
    """Whatever a query holds, the answer is no and never an exception."""
    assert Tickets([SECRET]).read(text) is None
    assert Tickets([SECRET]).read(f"e30.{text}.x") is None


@pytest.mark.parametrize("length", [5_000, 1_000_000])
def test_a_very_long_word_is_not_even_parsed(length: int) -> None:
    """The bound is on the text, before any decoding."""
    assert Tickets([SECRET]).read("a." * (length // 2)) is None


def test_a_principal_without_a_scope_may_not_start() -> None:
    """`WRITE` is in no ticket."""
    ticket, _ = Tickets([SECRET]).issue(Principal("ann", frozenset((READ, WRITE))), "ann", "t")
    found = Tickets([SECRET]).read(ticket)
    assert found is not None
    assert WRITE not in found.scopes
