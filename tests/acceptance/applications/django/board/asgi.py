"""The application for its server: pages, and the WebSocket."""

import os

from django.core.asgi import get_asgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "board.settings"
pages = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from board.consumers import Board  # noqa: E402

sockets = AuthMiddlewareStack(URLRouter([path("ws", Board.as_asgi())]))
application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
