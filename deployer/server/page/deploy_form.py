"""The form that deploys a version: what may be chosen, and the dialog in which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployer.core.errors import ManifestRefused
from deployer.planning.strategy import fitting
from deployer.server.context import ServerContext
from deployer.server.page.dialogs import Dialog
from deployer.store import Store
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.text import release as named

VERSIONS = 10  # that are offered


@dataclass(frozen=True)
class DeployChoices:
    """What may be chosen for a deploy: strategies, the manifest's first ("" while it is not known), and versions.

    `version` is the one that is deployed where none is named, `live` the release that users are on.
    """

    strategies: Sequence[str]
    versions: Sequence[tuple[str, str]] = ()  # each with what it was
    version: str = ""
    live: str = ""


def choices(desk: ServerContext, store: Store, service: str) -> DeployChoices | None:
    """Return what may be chosen; None where this server has no manifest of the service.

    A manifest that is refused offers its own strategy alone: asking for its plan says why.
    """
    releases, stable = store.releases.of(service), store.services.get(service).stable
    live = next((one for one in releases if one.number == stable), None)
    offered = {one.version: f"r{one.number}, {'live' if one is live else one.status}" for one in reversed(releases)}
    versions = list(reversed(offered.items()))[:VERSIONS]
    name = named(live.number, live.version) if live else "nothing"
    try:
        found = desk.manifest(service)
    except ManifestRefused:
        return DeployChoices(("",), versions, live=name)
    if found is None:
        return None
    manifest, folder = found[1].manifest, found[1].folder
    strategies = fitting(manifest, folder, alone=live is not None and live.alone)
    return DeployChoices(strategies, versions, manifest.version or "", name)


def deploy_dialog(service: str, given: DeployChoices) -> Dialog:
    """Return the dialog: it shows the plan before anything is done."""
    return Dialog(
        "deploy",
        "Deploy…",
        f"Deploy a version of {service}",
        f"{given.live} is live.",
        (),
        {"rollout": 0},
        "main",
        "rollouts",
        fields=_fields(given),
        planned=True,
    )


def _fields(given: DeployChoices) -> Content:
    empty = f" empty: {given.version}, as in the manifest" if given.version else " empty: as the manifest says"
    options = [tag("option", what, value=version) for version, what in given.versions]
    first, *others = given.strategies
    own = f"{first} (the manifest's)" if first else "the manifest's"
    return [
        tag("label", "Version", tag("small", empty), for_="ask-deploy-version"),
        tag(
            "input",
            id="ask-deploy-version",
            name="version",
            list="ask-deploy-versions",
            autocomplete="off",
            spellcheck="false",
        ),
        tag("datalist", options, id="ask-deploy-versions"),
        tag("label", "Strategy", for_="ask-deploy-strategy"),
        tag(
            "select",
            tag("option", own, value=first),
            [_option(name) for name in others],
            id="ask-deploy-strategy",
            name="strategy",
        ),
    ]


def _option(name: str) -> Markup:
    return tag("option", name, value=name)
