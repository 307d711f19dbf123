"""The floor: what any ASGI service on this server pays. The body is read and joined, the answer is always the same."""

_CARD = b'{"cards":[{"summary":"floor","indicator":"info","source":{"label":"floor"}}]}'
_HEAD = [(b"content-type", b"application/json"), (b"content-length", str(len(_CARD)).encode())]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    chunks = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    b"".join(chunks)
    await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
    await send({"type": "http.response.body", "body": _CARD})
