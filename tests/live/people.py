"""People who are asked whether a rollout may go on."""

from __future__ import annotations

from typing import Any

from tests.live.shop import Shop

BOTH = {"by": ["ann", "ben"], "count": 2, "within": "5m"}


def person(shop: Shop, name: str, *arguments: str, expect: int = 0) -> str:
    shop.environ["DEPLOYER_ACTOR"] = name
    done = shop.deploy(*arguments, expect=expect)
    return done.stdout + done.stderr


def waits(status: dict[str, Any]) -> bool:
    return bool(status["approval"]) and bool(status["share"])


def ask_both(shop: Shop) -> None:
    """Let two people be asked before all users get the next release, 2.0."""
    shop.write(
        strategy={"canary": {"steps": [30], "for": "2s", "bake": "1s"}},
        approve=BOTH,
        traffic={**shop.manifest["traffic"], "lease": "10s"},
    )
    shop.version("2.0")
