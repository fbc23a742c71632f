"""What becomes of an accepted manifest: nothing of it may break out of its place, and HAProxy itself must take it.

Every text that a manifest carries into the configuration is replaced by a harmless one of ours, and both are rendered:
line by line the same words must stand at the same places, but for those that the text itself is.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from deployer.drivers.hosts.variables import dump, twin, variables
from deployer.drivers.runtime.docker import options
from deployer.drivers.traffic.haproxy import layout, live_value
from deployer.drivers.traffic.haproxy.binary import Binary
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.render import Files, render
from deployer.drivers.traffic.haproxy.spec import Spec, configured
from deployer.judge.verdicts import Verdicts
from deployer.manifest.models import Manifest
from deployer.model import Coins, Counts, Environment, Instance, InstanceSpec, Live, Release, Sample, SecretText, Server

BATCH = 60  # services in one configuration
_HARMLESS = {"path": "/p", "domain": "d{}.example.com", "header": "x-h", "cookie": "c", "file": "/etc/ssl/x{}.pem"}
_SECTION = re.compile(r"(global|defaults|frontend|backend|ring)\b")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_CONTROL = re.compile(r"[^\x20-\x7e\n]")


def spec_of(manifest: Manifest) -> Spec:
    """Return the service as the proxy would know it in the middle of a rollout: with servers and a baseline."""
    plain = configured(None, manifest.service, manifest, None)
    servers = [Server(f"{manifest.service}-r1-1", "127.0.0.1:21001"), Server(f"{manifest.service}-r1-2", "[::1]:1")]
    busy = plain.with_side("blue", plain.blue.having(servers)).with_side("baseline", plain.green.having(servers))
    return configured(busy, manifest.service, manifest, "green")


def check_everything(manifest: Manifest) -> Spec:
    """Take an accepted manifest through all that a deploy writes of it; return what the proxy would know."""
    _check_record(manifest)
    spec = spec_of(manifest)
    check_text(spec)
    _check_instance(manifest)
    _check_judge(manifest)
    return spec


def _check_record(manifest: Manifest) -> None:
    again = Manifest.from_record(json.loads(json.dumps(manifest.record())))
    assert again == manifest, "a release would not keep this manifest"


def check_text(spec: Spec) -> None:
    """Compare the files of a service with those of its harmless twin."""
    place = Home(Path("/state/proxy"), Path("/state/proxy/haproxy.cfg"))
    ours, twin_ = render([spec], place, own=True), render([harmless(spec)], place, own=True)
    for left, right in itertools.zip_longest(ours.config.split("\n"), twin_.config.split("\n"), fillvalue="(no line)"):
        mine, plain = words(left), words(right)
        assert (len(mine), mine[:1]) == (len(plain), plain[:1]), f"{left!r} is not shaped like {right!r}"
        assert left.count("%[") == right.count("%[") or "http-check" in left, f"{left!r} has an expression of its own"
    assert not _CONTROL.search(ours.config), "a character that no line should have"
    _check_maps(ours, twin_)


def _check_maps(ours: Files, plain: Files) -> None:
    for path, text in ours.others.items():
        lines = text.splitlines()
        assert text.count("\n") == len(lines), f"{path.name}: a line break of its own"
        assert len(lines) <= plain.others[path].count("\n"), f"{path.name}: more lines than there are entries"
        fields = 1 if path.suffix == ".crt-list" else 2
        for line in lines:
            assert not line.startswith(("#", " ")), f"{path.name}: {line!r}"
            assert len(line.split()) == fields, f"{path.name}: {line!r}"
            assert not _CONTROL.search(line), f"{path.name}: {line!r}"


def words(line: str) -> list[str]:
    """Split a line as HAProxy does: quotes hold words together, a backslash takes the next character as it is."""
    found = _WORD.findall(line.partition("#")[0] if line.lstrip().startswith("#") else line)
    left = _WORD.sub("", line).strip()
    assert not left or line.lstrip().startswith("#"), f"{line!r}: a quote that does not end"
    return found


def harmless(spec: Spec) -> Spec:
    """Return the same service with all texts replaced that a manifest may choose freely."""
    entry = spec.entry
    force = entry.force.model_copy(
        update={
            "header": _HARMLESS["header"] if entry.force.header else None,
            "cookie": _HARMLESS["cookie"] if entry.force.cookie else None,
        }
    )
    tls = entry.tls
    if tls and tls.certificates:
        files = tuple(_HARMLESS["file"].format(n) for n in range(len(tls.certificates)))
        tls = tls.model_copy(update={"certificates": files})
    changed = {
        "domains": tuple(
            ("*." if name.startswith("*.") else "") + _HARMLESS["domain"].format(n)
            for n, name in enumerate(entry.domains)
        ),
        "path": _HARMLESS["path"] if entry.path != "/" else "/",
        "routes": tuple(f"/r{n}" for n in range(len(entry.routes))),
        "force": force,
        "tls": tls,
    }
    spec = spec.model_copy(update={"entry": entry.model_copy(update=changed)})
    for place in spec.places:
        side = spec.side(place)
        health = side.health.model_copy(
            update={"http": side.health.http and "/up", "host": side.health.host and "h.example.com"}
        )
        spec = spec.with_side(place, side.model_copy(update={"health": health}))
    return spec


def _check_judge(manifest: Manifest) -> None:
    """Let the policy judge some answers, and nothing at all."""
    verdicts = Verdicts(manifest.judge, sticky=manifest.traffic.sticky, routes=manifest.traffic.routes)
    verdicts.begin(500, 10000)
    stable, candidate = Counts(1900, 2, (1898,)), Counts(100, 1, (0, 99))
    for at, sample in enumerate(
        (Sample(Counts(), Counts(), 500), Sample(stable, candidate, 500, coins=_coins(stable, candidate)))
    ):
        assert verdicts.observe(sample, float(at)).text


def _coins(stable: Counts, candidate: Counts) -> tuple[Coins, ...]:
    return (Coins(0.05, stable, candidate, (1, 1)),)


# -- what an instance and a playbook get


def _check_instance(manifest: Manifest) -> None:
    release = Release(manifest.service, 7, "1.0", "shop:1", "sha256:1", manifest, "hash")
    secrets = {name: SecretText("s3cr3t") for name in manifest.secrets}
    if manifest.runtime == "docker":
        made = options.create(
            InstanceSpec(release, "blue", 1, 3, "127.0.0.1:21001", secrets), "installation", "web-1:/state"
        )
        json.dumps(made)
        assert all("\n" not in f"{key}{value}" for key, value in made["labels"].items())
    instance = Instance(manifest.service, "blue", 7, 1, f"{manifest.service}-r7-1", "id", "[::1]:21001", "running")
    environment = Environment(manifest.service, "blue", 7, (instance,))
    for data in (variables(release, environment, {"said": manifest.image}, Path("/p")), twin(environment)):
        assert yaml.load(dump(data), _Unsafe) == data


class _Unsafe(yaml.SafeLoader):
    """Reads what is written for Ansible; a text that could be a template must be marked."""


def _marked(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _plain(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    assert not re.search("{[{%#]", text), f"{text!r} would be carried out as a template"
    return text


_Unsafe.add_constructor("!unsafe", _marked)
_Unsafe.add_constructor("tag:yaml.org,2002:str", _plain)


# -- the real HAProxy


class Proxy:
    """Lets a real HAProxy read the configurations of accepted manifests, many in one file."""

    def __init__(self, folder: Path, program: Binary) -> None:
        self._place = Home(folder / "proxy", folder / "proxy" / "haproxy.cfg")
        self._program = program
        self.services = 0

    def refused(self, specs: Sequence[Spec]) -> Iterator[tuple[int, str]]:
        """Yield the services that HAProxy does not take, by their places, with its words."""
        self.services += len(specs)
        yield from self._refused([(n, self._numbered(n, spec)) for n, spec in enumerate(specs)])

    def _refused(self, specs: Sequence[tuple[int, Spec]]) -> Iterator[tuple[int, str]]:
        said = self._said([spec for _, spec in specs]) if specs else ""
        if said and len(specs) == 1:
            yield specs[0][0], said
        elif said:
            half = len(specs) // 2
            yield from self._refused(specs[:half])
            yield from self._refused(specs[half:])

    def _said(self, specs: Sequence[Spec]) -> str:
        files = render(specs, self._place, own=True)
        self._place.create()
        live_value.save(self._place.state, {s.service: live_value.encode(Live("blue")) for s in specs})
        for path, text in files.others.items():
            layout.write(path, text)
        layout.write(self._place.config, files.config)
        return self._program.validate(self._place.config)

    @staticmethod
    def _numbered(number: int, spec: Spec) -> Spec:
        """Return the service with a name and addresses of its own; hosts stay as they are drawn."""
        entry = spec.entry
        port = 2000 + 2 * number
        changed: dict[str, object] = {"listen": f"{entry.listen.rpartition(':')[0]}:{port}"}
        if entry.tls:
            listen = f"{entry.tls.listen.rpartition(':')[0]}:{port + 1}"
            changed["tls"] = entry.tls.model_copy(update={"listen": listen})
        name = f"{spec.service[:34]}-{number}"
        return spec.model_copy(update={"service": name, "entry": entry.model_copy(update=changed)})
