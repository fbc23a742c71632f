"""The work of the crash stage is begun once, for the tests that were chosen, in as many processes as cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.crash.explore import Found
from tests.crash.stage import on_paper
from tests.crash.work import shared


@pytest.fixture(scope="session")
def found(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], Found]]:
    """Yield what a piece of work found; `piece` names it among the parameters of a test."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    pieces = dict.fromkeys(params["piece"] for params in chosen if "piece" in params)
    with shared(pieces) as futures:
        yield lambda kind, name: futures[kind, name].result(timeout=1800)


@pytest.fixture
def paper() -> Iterator[None]:
    """Let time pass on paper."""
    with on_paper():
        yield
