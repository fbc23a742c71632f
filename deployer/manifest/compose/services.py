"""Each key of a service, and what becomes of it: a function that takes it over, or the reason why nothing does."""

from __future__ import annotations

import re
from collections.abc import Callable

from deployer.core.limits import SERVICE, SERVICE_LETTERS
from deployer.manifest.compose import jobs, reaching, running, storage
from deployer.manifest.compose.draft import Draft
from deployer.manifest.compose.project import Project

# In the order of the manifest
TAKEN: dict[str, Callable[[Draft], None]] = {
    "image": running.image,
    "build": running.build,
    "ports": reaching.reach,
    "scale": running.scale,
    "deploy": running.deploy,
    "command": running.command,
    "entrypoint": running.entrypoint,
    "environment": running.environment,
    "env_file": running.env_file,
    "secrets": storage.secrets,
    "volumes": storage.volumes,
    "configs": storage.configs,
    "networks": reaching.networks,
    "network_mode": reaching.network_mode,
    "cpus": running.limits,
    "user": running.user,
    "read_only": running.read_only,
    "logging": running.logging,
    "stop_signal": running.stop_signal,
    "stop_grace_period": running.stop_grace_period,
    "healthcheck": reaching.healthcheck,
    "restart": running.restart,
    "labels": jobs.take,
}
# Several keys are read there, or none is the same as a default
ALWAYS = frozenset({"ports", "networks", "cpus", "labels"})
# Read where another one is
_BESIDE = frozenset({"expose", "depends_on", "profiles", "mem_limit", "pids_limit"})
_NO_COUNTERPART = "has no counterpart in a manifest"
REASONS = {
    "container_name": "deployer names instances itself: two releases run side by side",
    "hostname": "two releases run side by side: none has a name of its own",
    "links": "services in a network are reached by their names",
    "external_links": "services in a network are reached by their names",
    "pull_policy": "a tag of a registry is asked for at each deploy, and the image is pinned by its ID",
    "platform": "the engine takes the platform that it has",
    "tty": "a service has no terminal",
    "stdin_open": "a service has no terminal",
    "init": "the engine's default holds (`init` in daemon.json)",
    "develop": "it is for development",
    "extra_hosts": "name the host in DNS, or reach it by a network",
    "working_dir": "set it in the Dockerfile (WORKDIR), or in the command",
    "privileged": "instances never get more rights",
    "cap_add": "instances never get more rights",
    "devices": "instances get no devices",
    "gpus": "instances get no devices",
    "security_opt": "instances run with no-new-privileges",
    "annotations": "only labels of deployer are set",
    "post_start": "`update` and `hooks` run commands at each rollout, in an instance too",
    "pre_stop": "`stop` says how an instance is stopped",
}


def translate(project: Project, name: str) -> Draft:
    """Make the manifest of a service."""
    draft = Draft(project, name)
    draft.put("service", _service(draft))
    for key, take in TAKEN.items():
        if key in ALWAYS or key in draft.node.entries:
            take(draft)
    for key in draft.node.entries:
        if key not in TAKEN and key not in _BESIDE:
            draft.note(REASONS.get(key, _NO_COUNTERPART), key)
    return draft


def _service(draft: Draft) -> str:
    if re.fullmatch(SERVICE, draft.name):
        return draft.name
    name = re.sub(r"[^a-z0-9]+", "-", draft.name.lower()).strip("-")
    name = (name if name[:1].isalpha() else f"s{name}")[:SERVICE_LETTERS].rstrip("-")
    draft.note(f"is called {name}: letters, digits and -; other services reach it by this name")
    return name
