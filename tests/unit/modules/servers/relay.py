# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Proxies between the probe and the app: one good, the others broken in one way each.

usage: relay.py DIRECTORY APP_SOCKET TWIN_SOCKET

Every mode listens on DIRECTORY/<mode>.sock; the good one also by TLS on a loopback port, with
DIRECTORY/cert.pem and key.pem. The port is printed when all of them listen.
"""

import asyncio
import itertools
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HOP_BY_HOP = {"connection", "upgrade", "transfer-encoding", "content-length", "content-encoding"}


class Upstream:
    def __init__(self, path: str) -> None:
        self.path = path
        self.http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))

    def url(self, request: web.Request) -> str:
        return f"http://{request.host}{request.path_qs}"

    async def plain(self, request: web.Request, url: str | None = None) -> web.Response:
        """Pass a request on, hop-by-hop headers dropped as the standard wants it."""
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        async with self.http.request(
            request.method, url or self.url(request), headers=headers, data=await request.read()
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def good(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return await self.plain(request)
        return await self.websocket(request)

    async def websocket(
        self, request: web.Request, frames: int | None = None
    ) -> web.WebSocketResponse:
        """Pass frames both ways; after that many from the client, cut the connection."""
        async with self.http.ws_connect(self.url(request)) as inside:
            outside = web.WebSocketResponse()
            await outside.prepare(request)
            copies = {
                asyncio.ensure_future(copy(inside, outside)),
                asyncio.ensure_future(copy(outside, inside, frames)),
            }
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            for task in copies:
                task.cancel()
            if frames is not None and request.transport:
                request.transport.abort()
            else:
                await outside.close()
        return outside


Side = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


async def copy(source: Side, target: Side, frames: int | None = None) -> None:
    async for message in source:
        if frames is not None:
            frames -= 1
            if frames < 0:
                return
        await target.send_str(message.data)


def is_websocket(request: web.Request) -> bool:
    return request.query.get("transport") == "websocket"


def modes(app: Upstream, twin: Upstream) -> dict[str, Handler]:
    turns = itertools.cycle((app, twin))

    async def alternating(request: web.Request) -> web.StreamResponse:
        return await next(turns).good(request)

    async def bad_gateway(_request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.open_unix_connection(f"{app.path}.missing")
        except OSError:
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>")
        raise AssertionError("nobody listens there")

    async def buffering(request: web.Request) -> web.StreamResponse:
        """Answers to waiting polls are kept back."""
        answer = await app.good(request)
        if request.method == "GET" and "sid" in request.query and not is_websocket(request):
            await asyncio.Event().wait()
        return answer

    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("never set")

    async def silent_upgrade(request: web.Request) -> web.StreamResponse:
        return await (silent if is_websocket(request) else app.plain)(request)

    async def mute(request: web.Request) -> web.StreamResponse:
        """A websocket that opens, but through which nothing comes."""
        if not is_websocket(request):
            return await app.plain(request)
        outside = web.WebSocketResponse()
        await outside.prepare(request)
        async for _ in outside:
            pass
        return outside

    async def cut(request: web.Request) -> web.StreamResponse:
        if not is_websocket(request):
            return await app.plain(request)
        outside = web.WebSocketResponse()
        await outside.prepare(request)
        if request.transport:
            request.transport.abort()
        return outside

    async def cut_later(request: web.Request) -> web.StreamResponse:
        """The websocket is cut between the upgrade (two frames) and the Socket.IO connect."""
        return await (app.websocket(request, 2) if is_websocket(request) else app.plain(request))

    async def error_500(request: web.Request) -> web.StreamResponse:
        if is_websocket(request):
            return web.Response(status=500, text="Internal Server Error")
        return await app.plain(request)

    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMovedPermanently(f"https://{request.host}{request.path_qs}")

    async def old_protocol(request: web.Request) -> web.StreamResponse:
        return await app.plain(request, app.url(request).replace("EIO=4", "EIO=3"))

    async def reset(request: web.Request) -> web.StreamResponse:
        if request.transport:
            request.transport.abort()
        return web.Response()

    async def telltale(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400, text=str(request.headers))

    handlers: dict[str, Handler] = {
        "good": app.good,
        "no_upgrade": app.plain,
        "alternating": alternating,
        "bad_gateway": bad_gateway,
        "buffering": buffering,
        "silent": silent,
        "silent_upgrade": silent_upgrade,
        "mute": mute,
        "cut": cut,
        "cut_later": cut_later,
        "error_500": error_500,
        "redirect": redirect,
        "old_protocol": old_protocol,
        "reset": reset,
        "telltale": telltale,
    }
    return handlers


async def main(directory: Path, app_socket: str, twin_socket: str) -> None:
    app, twin = Upstream(app_socket), Upstream(twin_socket)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    port = 0
    for mode, handler in modes(app, twin).items():
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(directory / f"{mode}.sock")).start()
        if mode == "good":
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            port = runner.addresses[-1][1]
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
