"""The forms that deploy a version, of a service or of a set: what may be chosen, and the dialog in which it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deployer.core.errors import ManifestRefused
from deployer.planning.strategy import fitting, names
from deployer.server.context import ServerContext
from deployer.server.page.dialogs import Dialog
from deployer.store import Store
from deployer.views.report.markup import Content, tag
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
    versions = _offered(store, service)
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


def set_dialog(desk: ServerContext, store: Store, name: str) -> Dialog | None:
    """Return the dialog that releases a set; None when this server has no release file of it.

    One that is refused offers its own strategy alone: asking for its plan says why.
    """
    services: Iterable[str] = sorted(store.sets.services(name))
    strategies: Sequence[str] = ("",)
    try:
        found = desk.release_file(name)
    except ManifestRefused:
        pass
    else:
        if found is None:
            return None
        source, file = found
        services = file.services
        root = source.path if source.path.is_dir() else source.path.parent
        strategies = tuple(dict.fromkeys((file.strategy_name, *names(root))))
    return Dialog(
        "deploy",
        "Deploy…",
        f"Deploy {name}: several services as one release",
        "A service whose release would be the one that is live is left as it is.",
        (),
        {"set": 0},
        "main",
        "releases",
        fields=_set_fields(store, services, strategies),
        planned=True,
    )


def _offered(store: Store, service: str) -> list[tuple[str, str]]:
    """Return the newest versions of a service, each with what it was."""
    stable = store.services.get(service).stable
    releases = reversed(store.releases.of(service))
    offered = {one.version: f"r{one.number}, {'live' if one.number == stable else one.status}" for one in releases}
    return list(reversed(offered.items()))[:VERSIONS]


def _set_fields(store: Store, services: Iterable[str], strategies: Sequence[str]) -> Content:
    """Write a field for the version of each service, and one for all that have none of their own."""
    own = " empty: that of all, or as its manifest says"
    return [
        _version("versions.", "Version of all", " empty: as the manifests say", ()),
        [_version(f"versions.{each}", f"Version of {each}", own, _offered(store, each)) for each in services],
        _strategy(strategies, "the release file's"),
    ]


def _fields(given: DeployChoices) -> Content:
    empty = f" empty: {given.version}, as in the manifest" if given.version else " empty: as the manifest says"
    return [
        _version("version", "Version", empty, given.versions),
        _strategy(given.strategies, "the manifest's"),
    ]


def _version(field: str, label: str, empty: str, offered: Sequence[tuple[str, str]]) -> Iterator[Content]:
    at = f"ask-deploy-{field.strip('.').replace('.', '-')}"
    options = [tag("option", what, value=version) for version, what in offered]
    yield tag("label", label, tag("small", empty), for_=at)
    yield tag("input", id=at, name=field, list=f"{at}s", autocomplete="off", spellcheck="false")
    yield tag("datalist", options, id=f"{at}s")


def _strategy(strategies: Sequence[str], whose: str) -> Iterator[Content]:
    first, *others = strategies
    own = tag("option", f"{first} ({whose})" if first else whose, value=first)
    yield tag("label", "Strategy", for_="ask-deploy-strategy")
    yield tag(
        "select",
        own,
        [tag("option", name, value=name) for name in others],
        id="ask-deploy-strategy",
        name="strategy",
    )
