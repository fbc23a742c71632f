"""Making a bundle: the release that a manifest describes, with all that it needs, in one file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from deployer.app.bundles import tree
from deployer.app.operations.context import AppContext
from deployer.app.operations.deploy_request import DeployRequest
from deployer.app.operations.image import PULL_SECONDS, made_image, note_of, path_of
from deployer.app.releases import built_version, version_of
from deployer.app.work_tree import git_revision, last_commit
from deployer.bundle import elf, sealing, signing, tape
from deployer.bundle.collect import Collected, collect, collect_directory, part_of
from deployer.bundle.contents import Contents, Data, OciImage, Part, Sealed, digest_of
from deployer.bundle.reader import opened
from deployer.bundle.resolved import resolved
from deployer.bundle.unpack import DIRECTORY, MANIFEST
from deployer.bundle.writer import stream, write
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.host import ServiceHosts
from deployer.core.limits import REASON
from deployer.drivers.ports import PIN, Image, SavedImage
from deployer.manifest.runtimes import OF_ENGINES

SAVE_SECONDS = 900.0
DATA_SECONDS = 3600.0


@dataclass(frozen=True)
class Wish:
    """What a bundle is to be beside its release: the file, more files of the manifest's folder.

    What the bundle `since` brings is left out; `key` signs; the `tool` itself may come along, and secrets, encrypted
    to `recipients`, and the `data` of the service.
    """

    out: Path
    include: Sequence[str] = ()
    since: Path | None = None
    key: Path | None = None
    tool: bool = False
    recipients: Sequence[str] = ()
    data: bool = False


def make(house: AppContext, request: DeployRequest, wish: Wish) -> tuple[str, ...]:
    """Make a bundle; return what is not in it, and why.

    Raise Refused, and write nothing, where it cannot be whole.
    """
    request = _versioned(request)
    loaded = request.loaded
    if loaded.manifest.runtime == "incus":
        raise Refused(
            f"{loaded.manifest.service}: a bundle cannot have an image of runtime incus",
            "copy its image: `incus image export`",
        )
    older = _contents_of(wish.since) if wish.since else None
    with ExitStack() as saved:
        image: SavedImage | None = None
        directory = Collected()
        reference = loaded.manifest.image_for(request.version)
        if loaded.manifest.runtime in OF_ENGINES:
            pinned = _pinned(house, request)
            scratch, deadline = wish.out.absolute().parent, Deadline.after(house.clock, SAVE_SECONDS)
            image = saved.enter_context(house.images.save(pinned, scratch, deadline))
        else:
            path = Path(
                path_of(loaded.folder, reference.partition(PIN)[0], always=loaded.manifest.runtime == "process")
            )
            if path.is_absolute():
                directory = collect_directory(path, loaded.manifest, loaded.folder, house.store.folder)
                reference = f"../{DIRECTORY}" if path.is_dir() else f"../{DIRECTORY}/{path.name}"
        files = collect(loaded.manifest, loaded.folder, wish.include)
        files.text(MANIFEST, _manifest(request, reference))
        contents = _contents(request, _described(image, reference) if image else None, files, directory)
        if wish.data:
            found = saved.enter_context(_data(house, request, pinned.id if image else "", wish.out.absolute().parent))
            contents = contents.model_copy(update={"data_parts": tuple(data for data, _ in found)})
            files.places |= {data.part.digest: place for data, place in found}
        if wish.tool:
            archive = saved.enter_context(_archive(wish.out.absolute().parent))
            contents = contents.model_copy(update={"tool": tree.described(part_of(archive))})
            files.places[part_of(archive).digest] = archive
        if wish.recipients:
            secrets, sealed = _sealed(request, wish.recipients)
            contents = contents.model_copy(update={"sealed": secrets})
            files.places[secrets.part.digest] = sealed
        left_out = _in_both(older, contents) if older else frozenset()
        signature = signing.sign(contents.data(), wish.key) if wish.key else ""
        source = _source(image, files, directory)
        write(wish.out, stream(contents, source, left_out, signature))
    return tuple(files.notes)


def _versioned(request: DeployRequest) -> DeployRequest:
    loaded, asked = request.loaded, request.version or request.loaded.manifest.version
    version = built_version(loaded.manifest, loaded.folder, loaded.files, asked, dirty=request.dirty)
    try:
        loaded.manifest.image_for(version)
    except ValueError as error:
        raise Refused(f"{loaded.manifest.service}: {error}", "see `image:` and `version:` in the manifest") from None
    return replace(request, version=version)


def _contents_of(older: Path) -> Contents:
    with opened(older) as bundle:
        return bundle.contents


def _in_both(older: Contents, contents: Contents) -> frozenset[str]:
    """Return what a delta may leave out: files, and layers from the lowest up, as engines know no other ones."""
    digests = older.optional() & contents.optional()
    if older.image is None or contents.image is None:
        return digests
    same = takewhile(lambda pair: pair[0] == pair[1], zip(older.image.layers, contents.image.layers, strict=False))
    return digests | {layer.digest for layer, _ in same}


def _pinned(house: AppContext, request: DeployRequest) -> Image:
    loaded = request.loaded
    drivers = house.wire(loaded.manifest, loaded.folder, ServiceHosts())

    def pin(reference: str) -> Image:
        deadline = Deadline.after(house.clock, PULL_SECONDS)
        return house.images.pin(reference, deadline, note_of(house, request))

    needed = loaded.manifest.build.secrets if loaded.manifest.build else ()
    return made_image(house, request, drivers, request.secrets() if needed else {}, pin)


def _described(image: SavedImage, reference: str) -> OciImage:
    said = json.loads(image.config)
    config = Part(digest=digest_of(image.config), size=len(image.config))
    layers = tuple(Part(digest=layer.digest, size=layer.size) for layer in image.layers)
    return OciImage(reference=reference, config=config, layers=layers, os=said["os"], architecture=said["architecture"])


def _sealed(request: DeployRequest, recipients: Sequence[str]) -> tuple[Sealed, bytes]:
    """Encrypt the secrets of a release."""
    values = request.secrets()
    if not values:
        raise Refused("the manifest has no secrets", "leave --secrets-for out")
    data = sealing.seal(values, recipients)
    return Sealed(names=tuple(sorted(values)), part=Part(digest=digest_of(data), size=len(data))), data


@contextmanager
def _data(house: AppContext, request: DeployRequest, image: str, scratch: Path) -> Iterator[list[tuple[Data, Path]]]:
    """Save the data of a service, for as long as it is needed."""
    loaded, deadline = request.loaded, Deadline.after(house.clock, DATA_SECONDS)
    target, found = house.data(loaded.manifest, loaded.folder), list[tuple[Data, Path]]()
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".data-") as folder:
            for number, name in enumerate(target.names()):
                place = Path(folder) / str(number)
                target.save(name, image, place, deadline)
                found.append((Data(name=name, kind=target.kind, part=part_of(place)), place))
            yield found
    except OSError as error:
        raise Refused(f"the data cannot be written in {scratch}: {error.strerror}", "see `df`") from error


@contextmanager
def _archive(scratch: Path) -> Iterator[Path]:
    """Write the archive of this installation, for as long as it is needed."""
    try:
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=".tool-") as file:
            tree.write(file)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        raise Refused(f"the tool cannot be written in {scratch}: {error.strerror}", "see `df`") from error


def _manifest(request: DeployRequest, reference: str) -> bytes:
    """Write the manifest as it is deployed from the bundle."""
    manifest, tree = request.loaded.manifest, request.loaded.tree
    if tree is None:
        raise TypeError("a manifest without its tree was not loaded from a file")
    changed = {"image": reference}
    if "@" not in reference:
        changed["version"] = version_of(manifest, request.version)
    return resolved(tree, changed)


def _contents(request: DeployRequest, image: OciImage | None, files: Collected, directory: Collected) -> Contents:
    loaded = request.loaded
    who, when, why = last_commit(loaded.folder)
    return Contents(
        format=1,
        service=loaded.manifest.service,
        version=version_of(loaded.manifest, request.version),
        runtime=loaded.manifest.runtime,
        git=git_revision(loaded.folder),
        who=who,
        when=_epoch() or when,
        why=request.message or why[:REASON],
        image=image,
        files=files.sorted(),
        directory=directory.sorted(),
        machines=_machines(directory),
    )


def _epoch() -> int:
    """Return SOURCE_DATE_EPOCH (reproducible-builds.org), 0 where it is not set."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not given.isdecimal():
        raise Refused(f"SOURCE_DATE_EPOCH is {given!r}", "seconds since 1970, such as `git log -1 --format=%ct`")
    return int(given or 0)


def _machines(directory: Collected) -> tuple[str, ...]:
    """Return the processors for which a directory has programs; none where it has only scripts."""
    places = (place for place in directory.places.values() if isinstance(place, Path))
    return tuple(sorted({machine for place in places if (machine := elf.machine(place))}))


def _source(image: SavedImage | None, files: Collected, directory: Collected) -> Callable[[str], Iterable[bytes]]:
    layers = {layer.digest: layer for layer in image.layers} if image else {}
    ours: dict[str, bytes] = {}
    if image:
        described = _described(image, "").manifest()
        ours = {digest_of(data): data for data in (image.config, described)}

    def read(digest: str) -> Iterable[bytes]:
        if digest in ours:
            return [ours[digest]]
        if digest in layers:
            return layers[digest].read()
        place = {**files.places, **directory.places}[digest]
        return [place] if isinstance(place, bytes) else _read(place)

    return read


def _read(place: Path) -> Iterator[bytes]:
    with place.open("rb") as file:
        yield from tape.chunks(file)
