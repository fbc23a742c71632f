"""What runs: image, build, command, variables, limits, how it stops."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from deployer.manifest.compose.draft import Draft, Raw, listed
from deployer.manifest.tree import Scalar, Table
from deployer.manifest.units import write_seconds

_SECRET = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASS|PWD|SECRET|TOKEN|KEY|CREDENTIALS?)(_|$)|SECRET|PASSWORD", re.IGNORECASE
)
_ONE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?\?[^{}]*)?\}", re.ASCII)
_DURATION = re.compile(r"(?:[0-9.]+(?:us|µs|ms|s|m|h))+")
_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def image(draft: Draft) -> None:
    """Take the image; of what is built, its name without the tag, which is the Git revision there."""
    given = draft.text("image")
    if draft.at("build") is None:
        draft.put("image", given)
    elif given:
        name = given.partition("@")[0]
        head, slash, last = name.rpartition("/")
        draft.put("image", f"{head}{slash}{last.partition(':')[0]}")


def build(draft: Draft) -> None:
    """Take the section `build`."""
    node = draft.at("build")
    context = draft.text("build") if isinstance(node, Scalar) else draft.text("build", "context") or "."
    given: dict[str, object] = {"context": _relative(context, draft.project.folder)}
    for key in ("dockerfile", "target"):
        if draft.text("build", key):
            given[key] = draft.text("build", key)
    arguments = {}
    for name, (value, path) in draft.pairs("build", "args").items():
        if value is None and name not in draft.project.known:
            draft.note("takes its value from the environment, which has none", *path)
        else:
            arguments[name] = Raw(f"${{{name}}}") if value is None else value
    if arguments:
        given["args"] = arguments
    for key in ("cache_from", "cache_to"):
        if listed(draft.at("build", key)):
            given[key] = draft.data("build", key)
    platforms = draft.data("build", "platforms") or [draft.data("platform")]
    if platforms[0]:
        given["platform"] = platforms[0]
    if len(platforms) > 1:
        draft.note("an image is built for one platform; the first one was taken", "build", "platforms")
    _build_secrets(draft, given)
    known = {"context", "dockerfile", "target", "args", "cache_from", "cache_to", "platforms", "secrets"}
    for key in node.entries if isinstance(node, Table) else ():
        if key not in known:
            draft.note("is not supported in `build`", "build", key)
    draft.put("build", given["context"] if set(given) == {"context"} else given)


def _build_secrets(draft: Draft, given: dict[str, object]) -> None:
    from deployer.manifest.compose.storage import secret_source

    names = []
    for index in range(listed(draft.at("build", "secrets"))):
        path = ("build", "secrets", index)
        name = draft.text(*path) or draft.text(*path, "source")
        source = secret_source(draft, name, *path)
        if source:
            names.append(name)
            draft.keys.setdefault("secrets", {}).setdefault(name, {**source, "deliver": "none"})
    if names:
        given["secrets"] = names


def _relative(path: str, folder: Path) -> str:
    """Return a path for the manifest, which is beside the Compose file."""
    if path.startswith("~"):
        path = str(Path(path).expanduser())
    inside = Path(path)
    if inside.is_absolute() and inside.is_relative_to(folder):
        inside = inside.relative_to(folder)
    return str(inside)


def command(draft: Draft) -> None:
    """Take `command`."""
    if words := draft.words("command"):
        draft.put("command", words)


def entrypoint(draft: Draft) -> None:
    """Take `entrypoint`."""
    words = draft.words("entrypoint")
    if words:
        draft.put("entrypoint", words)
    elif draft.data("entrypoint") is not None:
        draft.note("an entrypoint cannot be taken away; set `entrypoint` to the program itself", "entrypoint")


def environment(draft: Draft) -> None:
    """Take the variables; one that is a single variable with the name of a secret becomes a secret."""
    given: dict[str, str] = {}
    for name, (value, path) in draft.pairs("environment").items():
        if value is None:
            if name not in draft.project.known:
                draft.note("takes its value from the environment, which has none: left out", *path)
                continue
            value = Raw(f"${{{name}}}")
        single = _ONE.fullmatch(value)
        if value.removeprefix("/run/secrets/") == name.removesuffix("_FILE") and name.endswith("_FILE"):
            continue  # deployer sets it for each secret
        # An empty secret is refused at a deploy; an empty variable is not.
        if single and _SECRET.search(name) and draft.project.known.get(single[1]):
            draft.keys.setdefault("secrets", {})[name] = {"env": single[1], "deliver": "env"}
            draft.comments["secrets"] = "from the environment or .env; never shown"
        else:
            given[name] = value
    if given:
        draft.put("env", given)
    shown = [n for n, v in given.items() if any(_SECRET.search(found[1]) for found in _ONE.finditer(v))]
    if shown:
        draft.comments["env"] = f"{', '.join(shown)}: a secret inside is shown here; put the whole text under `secrets`"


def env_file(draft: Draft) -> None:
    """Take the files of variables."""
    names = []
    single = isinstance(draft.at("env_file"), Scalar)
    for path in [("env_file",)] if single else [("env_file", i) for i in range(listed(draft.at("env_file")))]:
        name = draft.text(*path) or draft.text(*path, "path")
        if draft.text(*path, "format"):
            draft.note("a format of its own is not supported: NAME=value is", *path, "format")
        if not draft.data(*path, "required") and draft.data(*path, "required") is not None:
            if not (draft.project.folder / name).is_file():
                draft.note(f"{name} is not there, and need not be: left out", *path)
                continue
            draft.note("a file that need not be there is required by a manifest", *path, "required")
        names.append(_relative(name, draft.project.folder))
    if names:
        draft.put("env_file", names if len(names) > 1 else names[0])


def user(draft: Draft) -> None:
    """Take the user."""
    draft.put("user", draft.text("user"))


def read_only(draft: Draft) -> None:
    """Take the switch."""
    if draft.data("read_only") is True:
        draft.put("read_only", True)


def logging(draft: Draft) -> None:
    """Take driver and options of the log."""
    given: dict[str, object] = {}
    if driver := draft.text("logging", "driver"):
        given["driver"] = driver
    if options := draft.pairs("logging", "options"):
        given["options"] = {name: value or Raw() for name, (value, _) in options.items()}
    if given:
        draft.put("log", given)


def scale(draft: Draft) -> None:
    """Take the number of instances, from `scale` or `deploy.replicas`."""
    path = ("scale",) if draft.at("scale") is not None else ("deploy", "replicas")
    text = draft.text(*path)
    if text.isdecimal() and int(text):
        if int(text) != 1:
            draft.put("replicas", int(text))
    elif text:
        draft.note(f"{text} instances: a manifest has one at least", *path)


def limits(draft: Draft) -> None:
    """Take what an instance may use, from `deploy.resources.limits` or from the older keys."""
    section = ("deploy", "resources", "limits")
    given: dict[str, object] = {}
    if cpus := draft.text(*section, "cpus") or draft.text("cpus"):
        given["cpus"] = float(cpus) if re.fullmatch(r"[0-9.]+", cpus) else cpus
    if memory := draft.text(*section, "memory") or draft.text("mem_limit"):
        given["memory"] = int(memory) if memory.isdecimal() else memory.lower().removesuffix("b")
    pids = draft.text(*section, "pids") or draft.text("pids_limit")
    if pids.isdecimal() and int(pids):
        given["pids"] = int(pids)
    for key in ("devices", "generic_resources"):
        if draft.at(*section, key) is not None:
            draft.note("has no counterpart in a manifest", *section, key)
    if given:
        draft.put("limits", given)


def deploy(draft: Draft) -> None:
    """Take what `deploy` says of number and limits, and note the rest."""
    if draft.at("scale") is None:
        scale(draft)
    reasons = {
        "update_config": "how a rollout goes is said by `strategy`",
        "rollback_config": "how a rollout is rolled back is said by `strategy` and `judge`",
        "restart_policy": "instances are always restarted",
        "placement": "`hosts` names a group of the inventory",
    }
    section = draft.at("deploy")
    for key in section.entries if isinstance(section, Table) else ():
        if key not in ("replicas", "resources", "labels"):
            draft.note(reasons.get(key, "has no counterpart in a manifest"), "deploy", key)
    for key in draft.data("deploy", "resources") or {}:
        if key != "limits":
            draft.note("nothing is reserved; `limits` bounds what an instance uses", "deploy", "resources", key)


def stop_grace_period(draft: Draft) -> None:
    """Take how long an instance may take to end."""
    value = seconds(draft.text("stop_grace_period"))
    if value is None:
        draft.note("is not a duration like 30s or 1m30s", "stop_grace_period")
    else:
        draft.put("stop.grace", write_seconds(value))


def stop_signal(draft: Draft) -> None:
    """Take the signal, by name or number."""
    text = draft.text("stop_signal").upper()
    if text.isdecimal() and int(text) in {s.value for s in signal.Signals}:
        text = signal.Signals(int(text)).name
    draft.put("stop.signal", text if text.startswith("SIG") else f"SIG{text}")


def restart(draft: Draft) -> None:
    """Instances are restarted as with `unless-stopped`; anything else is noted."""
    if draft.text("restart") not in ("always", "unless-stopped"):
        draft.note("instances are always restarted", "restart")


def seconds(text: str) -> float | None:
    """Read a duration of Compose; None for what is none."""
    if not _DURATION.fullmatch(text):
        return None
    try:
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(us|µs|ms|s|m|h)", text))
    except ValueError:
        return None
