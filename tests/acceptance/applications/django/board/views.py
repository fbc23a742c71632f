"""What the pages answer."""

from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token

from board.models import Message

PAGE = Path(__file__).with_name("page.html")


def versioned(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """State in each response which version it is of."""

    def said(request: HttpRequest) -> HttpResponse:
        response = answer(request)
        response["X-Version"] = settings.VERSION
        return response

    return said


def page(request: HttpRequest) -> HttpResponse:
    """Show the board, or the form by which one logs in."""
    text = PAGE.read_text().replace("VERSION", settings.VERSION).replace("TOKEN", get_token(request))
    return HttpResponse(text.replace("NAME", request.user.username))


def up(_request: HttpRequest) -> HttpResponse:
    """Return whether the database can be reached."""
    return HttpResponse(f"{Message.objects.count()} messages")


def log_in(request: HttpRequest) -> HttpResponse:
    """Begin a session: in this test each name may."""
    user, _ = User.objects.get_or_create(username=request.POST["name"])
    login(request, user)
    return HttpResponseRedirect("/")


def me(request: HttpRequest) -> HttpResponse:
    """Return whose session it is."""
    return HttpResponse(request.user.username, status=200 if request.user.is_authenticated else 401)


def messages(_request: HttpRequest) -> HttpResponse:
    """List the keys of all messages."""
    return JsonResponse(list(Message.objects.order_by("id").values_list("key", flat=True)), safe=False)
