"""A client of one app, by its name, through the host's nginx; and what each app must say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import socketio

# Name to source and Python, as files/app.py says them.
APPS = {
    "packed": ("packed as gztar", "/usr/bin/python3"),
    "fetched-by-git": ("git at v1.0", "/usr/bin/python3"),
    "fetched": ("fetched as zip", "/usr/local/bin/python-of-choice"),
}


@pytest.fixture(scope="session")
def expected() -> dict[str, dict[str, str]]:
    """What an app answers, and over what."""
    return {
        app: {"transport": "websocket", "source": source, "user": app, "python": python}
        for app, (source, python) in APPS.items()
    }


@pytest.fixture
def connected(
    published: Callable[[str, int], str],
) -> Callable[[str], AbstractAsyncContextManager[Any]]:
    """`connected("packed")`: polling first, then the upgrade, as clients do by default."""

    @asynccontextmanager
    async def connect(app: str) -> AsyncIterator[socketio.AsyncClient]:
        client = socketio.AsyncClient(reconnection=False)
        headers = {"Host": f"{app}.example.test"}
        await client.connect(f"http://{published('node1', 80)}", headers=headers, wait_timeout=5)
        try:
            yield client
        finally:
            await client.disconnect()

    return connect


async def say(client: socketio.AsyncClient) -> dict[str, str]:
    return {"transport": client.transport(), **await client.call("whoami", timeout=5)}


@pytest.fixture
def whoami(connected: Any) -> Callable[[str], dict[str, str]]:
    async def ask(app: str) -> dict[str, str]:
        async with connected(app) as client:
            return await say(client)

    return lambda app: asyncio.run(asyncio.wait_for(ask(app), 20))
