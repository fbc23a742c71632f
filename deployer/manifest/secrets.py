"""Fetch the values of secrets from their providers: the environment, files, commands."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deployer.errors import ManifestRefused, Problem
from deployer.manifest.models import Manifest, Secret
from deployer.secret import SecretText

COMMAND_SECONDS = 30.0
MAX_BYTES = 512 * 1024
_STDERR_LINES = 5


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
) -> dict[str, SecretText]:
    """Give the value of each secret. Files and commands are relative to `folder`, the manifest's.

    A command may take `seconds`; it gets no input. `where` gives the place of a path, as `Loaded.where` does. Raises
    ManifestRefused with all that could not be had; no message ever holds a value, but a command's stderr is shown.
    """
    values: dict[str, SecretText] = {}
    problems: list[Problem] = []
    for name, secret in manifest.secrets.items():
        try:
            values[name] = SecretText(_checked(_fetch(secret, folder, environ, seconds)))
        except _Failed as failed:
            path = f"secrets.{name}"
            problems.append(Problem(where(path), path, failed.message, failed.hint))
    if problems:
        raise ManifestRefused(tuple(problems))
    return values


def _fetch(secret: Secret, folder: Path, environ: Mapping[str, str], seconds: float) -> str:
    if secret.env is not None:
        value = environ.get(secret.env)
        if value is None:
            raise _Failed(f"the environment variable {secret.env} is not set", f"export {secret.env}=…")
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
                f"{file} is not {'a file' if file.exists() else 'there'}", "paths are relative to the manifest"
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
    try:
        # A group of its own: a helper that the command started must not outlive the time-out.
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _Failed(f"`{command[0]}` cannot be started: {reason}", "is it installed, and on PATH?") from error
    with process:
        try:
            out, err = _collect(process, time.monotonic() + seconds)
            code = process.wait(seconds)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise _Failed(f"`{command[0]}` did not end within {seconds:g} s", "it gets no input; did it ask?") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise _Failed(f"`{command[0]}` failed with {how}{_said(err, out)}")
    return _text(out)


def _collect(process: subprocess.Popen[bytes], end: float) -> tuple[bytes, bytes]:
    """Read stdout and stderr to their end, no more of either than a secret may be long."""
    streams = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                stream = next(s for s in streams if s is key.fileobj)
                chunk = os.read(key.fd, 65536)
                streams[stream] += chunk
                if not chunk:
                    selector.unregister(stream)
                elif len(streams[stream]) > MAX_BYTES:
                    raise _Failed(f"the command printed more than {MAX_BYTES // 1024} KiB")
    out, err = streams.values()
    return bytes(out), bytes(err)


def _said(err: bytes, out: bytes) -> str:
    """Give the last lines of stderr, without what the command printed on stdout as well."""
    text = err.decode(errors="replace")
    for line in out.decode(errors="replace").split("\n"):
        if line.strip():
            text = text.replace(line.strip(), "***")
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    last = [line for line in lines if line][-_STDERR_LINES:]
    return f": {' / '.join(last)}" if last else ""
