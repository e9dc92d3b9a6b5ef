"""Proxies as people put them before the server: what name reaches it, and whether a stream comes through live."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.server.servers import calling, serve
from tests.server.stock import open_gate, stock_server

NAME = "tasks.example.com"

NGINX = """
pid {folder}/nginx.pid; error_log stderr; daemon off;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {server}; {more} }} }}
}}
"""
CADDY = "{{\n admin off\n auto_https off\n}}\nhttp://:{port} {{\n bind 127.0.0.1\n reverse_proxy {server}\n}}\n"
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen all
  bind 127.0.0.1:{port}
  server one {address}
"""

PROXIES = {
    "nginx, proxy_pass alone": (NGINX, "", ["nginx", "-c", "{config}"], True),
    "nginx, Host passed on": (NGINX, "proxy_set_header Host $host;", ["nginx", "-c", "{config}"], False),
    "caddy": (CADDY, "", ["caddy", "run", "--adapter", "caddyfile", "--config", "{config}"], False),
    "haproxy": (HAPROXY, "", ["haproxy", "-db", "-f", "{config}"], False),
}
"""Configuration, a line for it, command, and whether the server sees its own address in `Host`."""


@asynccontextmanager
async def proxied(kind: str, server: str, folder: Path) -> AsyncIterator[str]:
    """The proxy's URL, once it answers."""
    config, more, command, _ = PROXIES[kind]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = folder / "proxy.conf"
    address = server.removeprefix("http://")
    path.write_text(config.format(port=port, server=server, address=address, folder=folder, more=more))
    words = [word.format(config=path) for word in command]
    async with await anyio.open_process(
        words, env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    ) as it:
        try:
            with anyio.fail_after(30):
                while not await answers(port):  # noqa: ASYNC110 (another program's)
                    await anyio.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            it.terminate()


async def answers(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("kind", PROXIES)
async def test_the_page_s_table_is_true(kind: str, tmp_path: Path) -> None:
    """A name that is passed on has to be allowed; all but that is answered, and a stream is not held back."""
    for allowed in (None, NAME):
        folder = tmp_path / str(allowed)
        folder.mkdir()
        async with (
            serve(stock_server(folder, allowed_hosts=allowed)) as inside,
            proxied(kind, inside.url, folder) as url,
        ):
            async with httpx2.AsyncClient(base_url=url, headers={"Host": NAME}, trust_env=False) as http:
                known = (await http.get("/health")).status_code
            passes_its_own = PROXIES[kind][3]
            assert known == (200 if (allowed is None) == passes_its_own else 421)
            if known == 421:
                continue
            async with calling(url, host=NAME) as caller:
                operation_id = await caller.start("counts", {"n": 1, "gate": str(folder)})
                async with caller.stream(operation_id) as stream:
                    await stream.until("progress")  # it waits at the gate: nothing more comes to fill a buffer
                    open_gate(str(folder))
                    assert (await stream.rest())[-1].event == "done"
