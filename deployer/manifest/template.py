"""A first manifest, as `deploy init` writes it: the lines that matter on top, the rest as comments to choose from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

import yaml

from deployer.core import amounts
from deployer.core.errors import ManifestRefused
from deployer.manifest import document, quiet
from deployer.manifest.load import FILE
from deployer.manifest.models import Manifest
from deployer.manifest.schema import LINE
from deployer.manifest.tree import read_scalar
from deployer.manifest.units import per_second
from deployer.manifest.validate import check
from deployer.manifest.variables import substitute

LISTEN = "*:80"
_WIDTH = 52  # where the explanations start


@dataclass(frozen=True)
class InitAnswers:
    """What `deploy init` needs to know; `health` is a path or "", `command` is for runtime process.

    Of a `worker`, which no user reaches, nothing is said about port, health, domains, addresses and traffic.
    """

    service: str
    image: str
    port: int = 8080
    runtime: Literal["docker", "process"] = "docker"
    health: str = ""
    domains: tuple[str, ...] = ()
    listen: str = LISTEN
    replicas: int = 1
    command: tuple[str, ...] = ()
    worker: bool = False
    traffic: str = ""  # requests that it gets: `20/s`, `3/min`, `100/h`; "" is not known


# One line for each key that a first manifest can do without; with its default where there is one to show.
OPTIONAL: dict[str, str] = {
    "build": ".",
    "version": '"1.0"',
    "runtime": "docker",
    "verbs": "systemd",
    "hosts": "local",
    "inventory": "inventories/production",
    "swarm": '{constraints: ["node.labels.disk==ssd"]}',
    "incus": "{project: acme}",
    "twin": "{hosts: web_green}",
    "tenant": "acme",
    "single": "false",
    "replicas": "1",
    "scale": "{min: 1, max: 8, concurrency: auto}",
    "max_unavailable": "0",
    "verify": "{cosign: {key: cosign.pub}}",
    "command": "[./server]",
    "entrypoint": "[/bin/sh, -c]",
    "env": "{LOG_LEVEL: info}",
    "env_file": ".env",
    "secrets": "[DATABASE_URL]",
    "mounts": "[{source: /srv/data, target: /data, read_only: true}]",
    "networks": "[backend]",
    "limits": "{cpus: 0.5, memory: 512m, pids: 200}",
    "user": '"1000:1000"',
    "read_only": "false",
    "log": '{driver: json-file, options: {max-size: 10m, max-file: "3"}}',
    "stop": "{signal: SIGTERM, grace: 10s, drain: 30s}",
    "health": "{http: /up, status: 200-399, rise: 2, deadline: 30s}",
    "update": "[playbooks/migrate.yml]",
    "smoke": "[{get: /, expect: 200}]",
    "migrate": "{expand: [{run: [bin/expand], in: instance}], contract: [{run: [bin/contract], in: instance}]}",
    "hooks": "{before: [{run: [make, check]}], after: [playbooks/announce.yml]}",
    "traffic": "{sticky: true, lease: 30s, budget: 50, shield: {methods: [GET, HEAD]}, force: {header: X-Canary}}",
    "schedule": '{nightly: {cron: "10 3 * * *", command: [bin/nightly]}}',
    "strategy": "{canary: {steps: [5, 25, 50], within: 10m, bake: 30s}}",
    "approve": "{by: [anna, ben], count: 1, within: 4h}",
    "judge": "{errors: {margin: 1.5x, add: 0.1%, max: 10%}, latency: {margin: 1.25x, add: 5ms}, proof: optional}",
    "notify": "{to: [{name: team chat, apprise: CHAT_URL}]}",
    "keep": "{warm: 1h, releases: 5, events: 500}",
    "freeze": "[Fri 16:00-Mon 08:00]",
}
# The same for a worker, where it is not the same; nothing where a worker has no such key.
OF_WORKERS = {
    "stop": "{signal: SIGTERM, grace: 30m}",
    "health": "{running: 5s}",
    "smoke": "",
    "scale": "",
    "traffic": "",
    "strategy": "{canary: {steps: [5, 25, 50], for: 1m, bake: 30s}}",
    "judge": '{metrics: [{name: failed jobs, logs: "^ERROR", max: 0}]}',
}


def template(answers: InitAnswers) -> str:
    """Write the manifest of the answers.

    Raises ManifestRefused when it would not load: an answer is not what it should be.
    """
    lines = [f"{key}: {value}" for key, value in _first(answers).items()]
    given = {line.partition(":")[0] for line in lines}
    shown = {**OPTIONAL, **OF_WORKERS} if answers.worker else OPTIONAL
    usual = {key: value for key, value in shown.items() if value and key not in given}
    rest = (f"# {key}: {value}".ljust(_WIDTH) + f" # {_about(key)}" for key, value in usual.items())
    head = f"# How {answers.service!a} is deployed. `deploy plan` explains what would happen, `deploy up` does it."
    note = "# What follows is optional; remove the # in front of a line to have it."
    text = "\n".join((LINE, head, *lines, "", note, *rest)) + "\n"
    _try(text)
    return text


def _first(answers: InitAnswers) -> dict[str, str]:
    lines = {"service": quoted(answers.service), "image": quoted(answers.image)}
    lines |= {} if answers.worker else {"port": str(answers.port)}
    if answers.runtime == "process":
        lines["runtime"] = "process"
    if answers.command:
        lines["command"] = _listed(answers.command)
    if answers.replicas != 1:
        lines["replicas"] = str(answers.replicas)
    if answers.worker:
        return lines
    if answers.health:
        lines["health"] = f"{{http: {quoted(answers.health)}}}"
    traffic = {"listen": quoted(answers.listen)} if answers.listen != LISTEN or not answers.domains else {}
    if answers.domains:
        traffic["domains"] = _listed(answers.domains)
    lines["traffic"] = "{" + ", ".join(f"{key}: {value}" for key, value in traffic.items()) + "}"
    if answers.traffic and (strategy := quiet.strategy(per_second(answers.traffic))):
        lines["strategy"] = f"{strategy}  # for {amounts.rate(per_second(answers.traffic))}"
    return lines


def _listed(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(quoted(text) for text in texts)}]"


def quoted(text: str) -> str:
    """Write a text as YAML, within [ ] and { } too, with quotes only where some reader needs them."""
    harmless = re.fullmatch(r"[A-Za-z0-9./_][A-Za-z0-9./_-]*(:[A-Za-z0-9./_-]+)*", text)
    # `no` is text to us, and false to the many tools that read YAML 1.1.
    if harmless and read_scalar(text) == text and _means_text(text):
        return text
    return json.dumps(text.replace("$", "$$"))


def _means_text(text: str) -> bool:
    resolver = yaml.resolver.Resolver()
    return bool(resolver.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str")  # type: ignore[no-untyped-call]


def _about(key: str) -> str:
    return re.split("[;,]", Manifest.model_fields[key].description or "")[0].rstrip(".")


def _try(text: str) -> None:
    read = document.parse(FILE, text)
    problems = list(read.problems)
    if read.root:
        filled = substitute(read.root, {}, problems)
        problems += check(filled).problems if isinstance(filled, type(read.root)) else []
    if problems:
        raise ManifestRefused(tuple(problems))
