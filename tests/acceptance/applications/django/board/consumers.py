"""The board's WebSocket: what one writes, all see, whichever instance and release they are on."""

import asyncio
import contextlib
from typing import Any

import psycopg
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.db import connection

from board.models import Message


class Board(AsyncJsonWebsocketConsumer):
    """One user's connection."""

    listening: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Let in who has a session."""
        if not self.scope["user"].is_authenticated:
            await self.close(4401)
            return
        await self.accept()
        self.listening = asyncio.create_task(self.listen())

    async def disconnect(self, _code: int) -> None:
        """Stop listening."""
        if self.listening:
            self.listening.cancel()

    async def receive_json(self, content: Any, **_more: Any) -> None:
        """Write a message into the database and say that it is there."""
        await self.write(content["key"], content["text"])
        await self.send_json({"written": content["key"]})

    @database_sync_to_async
    def write(self, key: str, text: str) -> None:
        """Write a message once, however often it is sent."""
        Message.objects.get_or_create(key=key, defaults={"author": self.scope["user"].username, "text": text})
        with connection.cursor() as cursor:
            cursor.execute("select pg_notify('board', %s)", [text])

    async def listen(self) -> None:
        """Send on what anybody writes."""
        database = settings.DATABASES["default"]
        where = f"host={database['HOST']} port={database['PORT']} dbname={database['NAME']} user={database['USER']}"
        with contextlib.suppress(asyncio.CancelledError):
            async with await psycopg.AsyncConnection.connect(where, autocommit=True) as listener:
                await listener.execute("listen board")
                async for notice in listener.notifies():
                    await self.send_json({"shown": notice.payload})
