"""`notify`: who is told of a rollout, of what, and by which way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import Field

from deployer.manifest.base import Conflict, Model, twice
from deployer.manifest.occasion import Occasion
from deployer.manifest.placeholders import words_in
from deployer.manifest.text import EnvName, HttpUrl, Title

OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)
LINKED = ("service", "rollout", "release", "version")  # what may stand in {braces} of the link
_USUAL = tuple(occasion for occasion in OCCASIONS if occasion != "verdict")  # there are many of those


class Recipient(Model):
    """A recipient, reached by one of `apprise` and `webhook`."""

    name: Title = Field(description="Display name.")
    apprise: EnvName | None = Field(
        None, description="Secret that is a URL of [Apprise](https://appriseit.com/services/), e.g. slack://…"
    )
    webhook: EnvName | None = Field(None, description="Secret that is a URL; it receives JSON by a signed POST.")
    key: EnvName | None = Field(None, description="Secret with which the POST is signed.")
    events: tuple[Occasion, ...] = Field(
        _USUAL,
        description="Events to notify about. `approval`: the rollout waits for its approvers. `paused`: for a person. "
        "`detached`: its process stopped and left it in progress. `verdict` comes with every observation step. "
        "`certificate`: one ends within 14, 7 or 3 days and was not renewed. `job-failed`: a run of a job failed, "
        "timed out, is lost or was missed.",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        kinds = ("apprise", "webhook")
        given = [kind for kind in kinds if getattr(self, kind)]
        if len(given) != 1:
            known = "there is `apprise` already" if given else "it has no address"
            yield Conflict("webhook" if given else "", known, "name exactly one of apprise, webhook", kinds)
        elif self.webhook and not self.key:
            yield Conflict("key", "is missing; a webhook is signed", "add the name of a secret", ("webhook", "key"))
        elif self.key and not self.webhook:
            yield Conflict("key", "says nothing without `webhook`", "remove it", ("webhook", "key"))
        if not self.events:
            yield Conflict("events", "names nothing", "leave it out, or name e.g. done", ("events",))
        yield from twice(self.events, "events")

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Yield each key that names a secret, with the name."""
        yield from ((key, name) for key in ("apprise", "webhook", "key") if (name := getattr(self, key)))


class Notify(Model):
    """Recipients of notifications. A notification that fails is reported, and never stops or slows a rollout."""

    link: HttpUrl | None = Field(
        None,
        description="Link in each message; {service}, {rollout}, {release} (its number) and {version} are filled in.",
    )
    to: tuple[Recipient, ...] = Field((), max_length=10, description="Recipients.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from twice((recipient.name for recipient in self.to), "to")
        for word in sorted(words_in(self.link) - set(LINKED)):
            known = ", ".join(f"{{{name}}}" for name in LINKED)
            yield Conflict("link", f"{{{word}}} is not a known word", f"known are {known}", ("link",))
        if self.link and not self.to:
            yield Conflict("link", "says nothing without `to`", "name a recipient", ("to", "link"))
