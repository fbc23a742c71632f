"""Tokens of the HTTP API: who may do what with which services, until when.

They lie in one private file beside the store. Of a store that several hosts share each has such a file, and what they
have in common is sealed in the database: whoever can write there makes no token by that. Only hashes are kept: a token
has 256 random bits, so that a plain SHA-256 is as good as a slow hash, and is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from deployer.core import files
from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.core.filelock import FileLock
from deployer.core.secret import SecretText
from deployer.store import Store

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
FOLDER = "server"  # in the state folder
WRITE_SECONDS = 10.0
FORMAT = 1
SHARED = "api-tokens"  # the name of the text in a store that hosts share
NOBODY = "-"  # no service can be called so
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,59}")
_TOKEN = re.compile(r"deploy_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Token:
    """What is kept of a token; times are Unix seconds, 0 is never. No `services` means all of them.

    One of a `tenant` is for its guests alone: who lets it in says which services these are now (`of_guests`).
    """

    id: str
    name: str
    role: Role
    services: tuple[str, ...]
    hash: str
    created_at: float
    created_by: str
    expires_at: float = 0.0
    revoked_at: float = 0.0
    revoked_by: str = ""
    tenant: str = ""

    def of_guests(self, guests: Collection[str]) -> Token:
        """Return it for these guests of its tenant, as far as it is for them; never for all services."""
        meant = tuple(sorted(each for each in guests if not self.services or each in self.services))
        return replace(self, services=meant or (NOBODY,))

    @property
    def scope(self) -> str:
        """What it is for, in words."""
        named = ", ".join(self.services)
        if self.tenant:
            return f"guests of {self.tenant}{f': {named}' if named else ''}"
        return named or "all services"

    def stands(self, now: float) -> bool:
        """Return whether it opens anything now."""
        return not self.revoked_at and (not self.expires_at or now < self.expires_at)

    def may(self, role: Role) -> bool:
        """Return whether it has a role, or one above."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, service: str) -> bool:
        """Return whether a service is in its scope."""
        return service in self.services if self.services else not self.tenant


class Tokens:
    """The tokens of a state folder. What another process writes counts from the next look on."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self.path = state / FOLDER / "tokens.json"
        self._clock = clock
        self._read: tuple[tuple[int, int, int], dict[str, Token]] = ((0, 0, 0), {})

    def create(
        self, name: str, role: Role, services: tuple[str, ...], lasts: float, by: str, tenant: str = ""
    ) -> tuple[Token, str]:
        """Make a token that `lasts` so many seconds (0: for good); return it with its text, which is kept nowhere.

        Raises Refused for a name that is none, or that a token has which is still running.
        """
        if not _NAME.fullmatch(name):
            raise Refused(f"{name[:60]!a} cannot be the name of a token", "letters, digits and ._@+-, e.g. ann or ci")
        secret, now = secrets.token_urlsafe(32), self._clock.now()
        with self._changing() as tokens:
            if any(t.name == name and t.stands(now) for t in tokens.values()):
                raise Refused(f"there is a token named {name}", "`deploy token revoke` it first, or name another one")
            ends = now + lasts if lasts else 0.0
            made = Token(secrets.token_hex(6), name, role, services, _hash(secret), now, by, ends, tenant=tenant)
            tokens[made.id] = made
        text = f"deploy_{made.id}_{secret}"
        SecretText(text)  # from now on no text of this process shows it by mistake
        return made, text

    def revoke(self, which: str, by: str) -> Token:
        """End a token, by its id or its name. Raises Refused when none that stands is called so."""
        now = self._clock.now()
        with self._changing() as tokens:
            meant = [t for t in tokens.values() if which in (t.id, t.name) and t.stands(now)]
            if not meant:
                raise Refused(f"no valid token is called {which[:60]!a}", "`deploy token list` shows them")
            ended = replace(meant[0], revoked_at=now, revoked_by=by)
            tokens[ended.id] = ended
        return ended

    def all(self) -> tuple[Token, ...]:
        """Read all tokens, also those that have ended, in the order of their making. Raises Refused."""
        return tuple(self._tokens().values())

    def find(self, text: str) -> Token | None:
        """Return the token of this text, if it stands. Raises Refused when the file cannot be read."""
        match = _TOKEN.fullmatch(text)
        token = self._tokens().get(match[1]) if match else None
        if match is None or token is None or not hmac.compare_digest(token.hash, _hash(match[2])):
            return None
        return token if token.stands(self._clock.now()) else None

    def standing(self, token: Token) -> bool:
        """Return whether a token that was found before still opens what it did."""
        now = self._tokens().get(token.id)
        return now is not None and now.hash == token.hash and now.stands(self._clock.now())

    def share(self, store: Store) -> None:
        """Have the same tokens as the other hosts of a store: each that was made, and each that was ended.

        A store that is of this host alone has none besides. Raise StoreFailed, and Refused.
        """
        if store.shared is None:
            return
        texts = store.shared.texts(store.folder)
        with self._locked():
            here, there = dict(self._tokens()), self._shared(texts.read(SHARED))
            if here == there:
                return
            with store.database.transaction():  # from here on no other host changes them
                there = self._shared(texts.read(SHARED))
                both = _merged(here, there)
                if both != there:
                    texts.write(SHARED, _text(both))
            if both != here:
                files.replace(self.path, _text(both))

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        with self._locked():
            tokens = dict(self._tokens())
            yield tokens
            files.replace(self.path, _text(tokens))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        files.folder(self.path.parent)
        with FileLock(self.path.with_name("tokens.lock")).held(WRITE_SECONDS):
            yield

    def _tokens(self) -> dict[str, Token]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read[0] != mark:
            self._read = (mark, self._load())
        return self._read[1]

    def _load(self) -> dict[str, Token]:
        try:
            return _parsed(self.path.read_text(encoding="utf-8"))
        except _ILLEGIBLE as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None

    def _shared(self, text: str) -> dict[str, Token]:
        try:
            return _parsed(text) if text else {}
        except _ILLEGIBLE as error:
            raise Refused(
                f"the tokens that the control hosts share cannot be read: {type(error).__name__}: {error}",
                "have the same version of deployer on all of them",
            ) from None

    def _unreadable(self, why: str) -> Refused:
        return Refused(
            f"the tokens in {self.path} cannot be read: {why}", "restore the file, or remove it and make new tokens"
        )


_ILLEGIBLE = (OSError, ValueError, KeyError, TypeError, RecursionError)


def _parsed(text: str) -> dict[str, Token]:
    """Read tokens, by their ids. Raise what is `_ILLEGIBLE`."""
    data = json.loads(text)
    if data["tokens"] != FORMAT:
        raise ValueError(f"format {data['tokens']!r}")
    made = [Token(**{**one, "services": tuple(one["services"])}) for one in data["all"]]
    if wrong := [token.role for token in made if token.role not in ROLES]:
        raise ValueError(f"role {wrong[0]!r}")
    return {token.id: token for token in made}


def _text(tokens: Mapping[str, Token]) -> str:
    # A version that knows no tenants reads what has none.
    rows = [{k: v for k, v in asdict(token).items() if k != "tenant" or v} for token in tokens.values()]
    data = {"tokens": FORMAT, "all": rows}
    return json.dumps(data, indent=1) + "\n"


def _merged(here: Mapping[str, Token], there: Mapping[str, Token]) -> dict[str, Token]:
    """Return all tokens of both, in the order of their making; one that was ended at either is."""
    ended = {one.id: one for one in (*here.values(), *there.values()) if one.revoked_at}
    return {one.id: one for one in sorted({**here, **there, **ended}.values(), key=lambda one: one.created_at)}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
