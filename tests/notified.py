"""A service that notifies a chat and a program of what happens to it."""

from __future__ import annotations

from typing import Any

from deployer.app import operations
from deployer.engine import RolloutResult
from deployer.manifest.notify import OCCASIONS
from deployer.model import SecretText
from tests.documents import REPOSITORY
from tests.house import Scene, owed, request
from tests.memory import MemoryNotifier

CHAT, BOT = "chat", "bot"
URL, KEY = "slack://very-secret-token", "a-key-of-many-letters"
VALUES = {"CHAT_URL": URL, "HOOK_URL": "https://hooks.example.com/very-secret", "HOOK_KEY": KEY}
NOTIFY: dict[str, Any] = {
    "link": "https://deploys.example.com/{service}/{rollout}?to={version}",
    "to": [
        {"name": CHAT, "apprise": "CHAT_URL"},
        {"name": BOT, "webhook": "HOOK_URL", "key": "HOOK_KEY", "events": list(OCCASIONS)},
    ],
}


class Told(Scene):
    """A house whose service tells people elsewhere."""

    notify = NOTIFY

    def bring(self, version: str, strategy: str = "bluegreen", **more: Any) -> RolloutResult:
        """Deploy, and wait until all is sent, as a command does at its end."""
        ending = self.begin(version, strategy, **more)
        self.house.announcer.close()
        return ending

    def begin(self, version: str, strategy: str = "bluegreen", **more: Any) -> RolloutResult:
        secrets = {name: {"env": name, "deliver": "none"} for name in VALUES}
        described = {"secrets": secrets, "notify": self.notify, **more.pop("manifest", {})}
        values = {name: SecretText(value) for name, value in VALUES.items()}
        made = request(version, strategy, REPOSITORY, manifest=described, secrets=lambda: values, **more)
        return operations.deploy(self.house, made)

    @property
    def notifier(self) -> MemoryNotifier:
        return self.world.notifier

    def heard(self, name: str = CHAT) -> list[str]:
        """What somebody was told of, once all is sent."""
        self.house.announcer.close()
        return [notice.kind for notice in self.notifier.to(name)]

    def owed(self) -> list[int]:
        return owed(self.house.store.folder)
