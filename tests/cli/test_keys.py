"""`longtasks keys`: made, used, listed and revoked as an operator does it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import anyio
import pytest

from tests.server.servers import calling, make_server, serve

from .commands import command


async def test_a_key_is_made_used_listed_and_revoked(tmp_path: Path) -> None:
    """On the store itself, beside a server that runs on it; the secret is shown once and is nowhere later."""
    store = ("--backend", f"sqlite:///{tmp_path / 'tasks.db'}")
    async with serve(make_server(tmp_path, auth="keys")) as nobody:
        made = await command(
            tmp_path, "keys", "create", "--owner", "ann", "--scope", "read", "--expires", "90d", *store
        )
        secret = made.out.strip()
        assert made.code == 0
        assert secret.startswith("ltk_")
        async with calling(nobody.url, token=secret) as ann:
            assert (await ann.http.get("/tasks")).status_code == 200
            assert (await ann.http.post("/tasks", json={"task_type": "x"})).status_code == 403
            listed = await command(tmp_path, "keys", "list", "--json", *store)
            (key,) = json.loads(listed.out)
            assert (key["owner"], key["scopes"]) == ("ann", ["tasks:read"])
            assert key["last_used_at"]
            assert secret not in listed.out
            assert secret not in (await command(tmp_path, "keys", "list", *store)).out
            assert (await command(tmp_path, "keys", "revoke", key["id"], *store)).out == "revoked\n"
            with anyio.fail_after(5):
                while True:
                    if (await ann.http.get("/tasks")).status_code == 401:
                        break
                    await anyio.sleep(0.1)
        again = await command(tmp_path, "keys", "revoke", key["id"], *store)
        assert (again.code, again.out) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--scope", "all"), 1), (("--expires", "soon"), 2), (("--owner", "a\x1b[2Jb"), 1)]
)
async def test_a_key_that_means_nothing_is_refused_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """Nothing is made, and nothing of what was typed does anything to the terminal."""
    ended = await command(tmp_path, "keys", "create", "--owner", "ann", *arguments, "--backend", "sqlite:///x.db")
    assert (ended.code, ended.out) == (code, "")
    assert len(ended.err.splitlines()) == 1
    assert "\x1b" not in ended.err


async def test_the_file_of_a_store_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Also while it is open, with its companions; a file that others may read is named in the log."""
    async with serve(make_server(tmp_path)):
        for name in ("tasks.db", "tasks.db-wal", "tasks.db-shm"):
            assert stat.S_IMODE((await anyio.Path(tmp_path / name).stat()).st_mode) == 0o600, name


async def test_a_file_that_others_may_read_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used all the same: an operator may want a group to read it."""
    (tmp_path / "tasks.db").touch(mode=0o644)
    async with serve(make_server(tmp_path)):
        assert "tasks.db may be read by others than its owner (mode 644)" in caplog.text
