"""Fetch the values of secrets from their providers: the environment, files, commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from deployer.core import commands
from deployer.core.errors import ManifestRefused, Problem
from deployer.core.secret import SecretText
from deployer.manifest.envfile import Variables
from deployer.manifest.models import Manifest, Secret

COMMAND_SECONDS = 30.0
MAX_BYTES = 512 * 1024
MAX_VARIABLE = 128 * 1024  # bytes of NAME=VALUE and its end: the kernel starts no program with a longer one


class _Failed(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint


def resolve_secrets(
    manifest: Manifest,
    folder: Path,
    environ: Mapping[str, str],
    *,
    where: Callable[[str], str] = lambda _path: "deploy.yml",
    seconds: float = COMMAND_SECONDS,
    inside: Mapping[str, SecretText] = MappingProxyType({}),
) -> dict[str, SecretText]:
    """Return the value of each secret. Files and commands are relative to `folder`, the manifest's.

    Those `inside` a bundle are taken from there.

    A command may take `seconds`; it gets no input. `where` gives the place of a path, as `Loaded.where` does. Raises
    ManifestRefused with all that could not be had; no message ever holds a value, or anything that a command printed.
    """
    values: dict[str, SecretText] = {}
    known = Variables(environ, folder)
    problems = known.problems
    for name, secret in manifest.secrets.items():
        try:
            brought = inside.get(name)
            value = _checked(brought.reveal() if brought else _fetch(secret, folder, known, environ, seconds))
            values[name] = SecretText(value)
            if secret.deliver == "env" and len(f"{name}={value}".encode()) >= MAX_VARIABLE:
                raise _Failed("the value is larger than 128 KiB, the most of a variable", "write deliver: file")
        except _Failed as failed:
            path = f"secrets.{name}"
            problems.append(Problem(where(path), path, failed.message, failed.hint))
    if problems:
        raise ManifestRefused(tuple(problems))
    return values


def _fetch(secret: Secret, folder: Path, known: Mapping[str, str], environ: Mapping[str, str], seconds: float) -> str:
    if secret.env is not None:
        value = known.get(secret.env)
        if value is None:
            raise _Failed(
                f"the environment variable {secret.env} is not set",
                f"export {secret.env}=…, or write it into .env beside the manifest",
            )
        return value
    if secret.file is not None:
        return _from_file(folder / secret.file)
    return _from_command(secret.command or (), folder, environ, seconds)


def _checked(value: str) -> str:
    if not value:
        raise _Failed(
            "the value is empty", "an empty secret is a mistake more often than not; remove it if it is meant"
        )
    if "\0" in value:
        raise _Failed("the value has a NUL character in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Failed("the value is not UTF-8 text", "encode it, for example as base64") from None
    return value


def _from_file(file: Path) -> str:
    try:
        if not file.is_file():
            raise _Failed(
                f"{file} is not {'a file' if file.exists() else 'there'}",
                "paths are relative to the manifest, with --from to the current folder",
            )
        with file.open("rb") as opened:
            return _text(opened.read(MAX_BYTES + 1))
    except OSError as error:
        raise _Failed(f"{file} cannot be read: {error.strerror}") from error


def _text(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _Failed(f"the value is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _Failed("the value is not UTF-8 text", "encode it, for example as base64") from None
    return text.removesuffix("\n").removesuffix("\r")


def _from_command(command: Sequence[str], folder: Path, environ: Mapping[str, str], seconds: float) -> str:
    end = time.monotonic() + seconds
    try:
        printed = commands.run(command, folder, environ, lambda: end - time.monotonic(), most=MAX_BYTES, private=True)
    except commands.CommandFailed as failed:
        raise _Failed(failed.message, failed.hint) from failed
    return _text(printed)
