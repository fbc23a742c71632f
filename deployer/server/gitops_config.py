"""`gitops.yml`: which branches the server follows, and who may make it look at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from deployer.core.errors import Refused
from deployer.core.secret import SecretText
from deployer.manifest.base import Conflict, Model, twice
from deployer.manifest.text import EnvName, FilePath, Name, Text
from deployer.manifest.units import Wait
from deployer.server.webhooks import Forge

_MOST = 1024 * 1024  # bytes of the file


class Secrets(Model):
    """Which forge sends webhooks, and which variable of the environment has the secret."""

    github: EnvName | None = Field(None, description="Signed in X-Hub-Signature-256.")
    gitlab: EnvName | None = Field(None, description="Sent in X-Gitlab-Token.")
    generic: EnvName | None = Field(None, description="Signed with its time, as our own webhooks are.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if len(list(self._given())) != 1:
            yield Conflict("", "names no Git host, or several", "exactly one of github, gitlab, generic")

    def _given(self) -> Iterator[tuple[Forge, str]]:
        forges: tuple[Forge, ...] = ("github", "gitlab", "generic")
        yield from ((forge, name) for forge in forges if (name := getattr(self, forge)))

    @property
    def forge(self) -> tuple[Forge, str]:
        """Return the forge and the name of the variable."""
        return next(self._given())


class Followed(Model):
    """A branch of a repository."""

    name: Name = Field(description="What it is called, and where its webhook goes: /api/v1/hooks/NAME.")
    repository: Text = Field(description="Its address, as `deploy gitops` takes it.")
    branch: Text = Field("main", description="The branch.")
    manifests: tuple[FilePath, ...] = Field(
        ("deploy.yml",), min_length=1, max_length=50, description="Manifests, by their paths in the repository."
    )
    destination: Text = Field("", description="Laid over each manifest, as by --destination.")
    every: Wait = Field(30.0, ge=1, description="Time between two looks; a webhook makes it look at once.")
    keys: FilePath | None = Field(None, description="Deploy only commits that are signed by a key in this file.")
    since: Text = Field("", description="With keys: deploy only descendants of this commit (40 digits).")
    allow_rewind: bool = Field(
        False, description="With keys: also deploy what does not descend from the commit that was verified last."
    )
    drift: Literal["repair", "tell"] = Field(
        "repair", description="What becomes of a service that is not as its commit says any more."
    )
    webhook: Secrets | None = Field(None, description="Who may make it look at once.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        if not self.keys and (self.since or self.allow_rewind):
            yield Conflict("", "has since or allow_rewind without keys", "name the keys that sign, or remove it")


class Follows(Model):
    """All that is followed."""

    follow: tuple[Followed, ...] = Field(min_length=1, max_length=100, description="The branches.")

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the keys that do not go together."""
        yield from twice((one.name for one in self.follow), "follow")


def read(file: Path) -> Follows:
    """Read the file. Raises Refused with all that is wrong in it."""
    try:
        text = file.read_bytes()
        if len(text) > _MOST:
            raise Refused(f"{file} has more than {_MOST} bytes", "it lists what is followed")
        return Follows.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}", "name a file with `follow:` in it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is not YAML: {error}", "see docs/gitops.md for one that is right") from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise Refused(f"{file}: {'; '.join(wrong)}", "see docs/gitops.md for one that is right") from None


def secret_of(followed: Followed, environ: Mapping[str, str]) -> tuple[Forge, SecretText] | None:
    """Return the forge and the secret of a webhook; None without one. Raises Refused when the variable is not set."""
    if followed.webhook is None:
        return None
    forge, name = followed.webhook.forge
    if len(secret := environ.get(name, "")) < 16:
        raise Refused(
            f"webhook of {followed.name}: ${name} {'has fewer than 16 characters' if secret else 'is not set'}",
            f"give it a long random secret, the same as at the Git host: {name}=$(openssl rand -hex 32)",
        )
    return forge, SecretText(secret)
