"""Nodes of a Swarm that nobody here reaches pull their images from a registry, with the login of whoever deploys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from tests.lab import image
from tests.lab.machines import Lab
from tests.machines.farm import CONTROL, WEB, Farm, engine
from tests.machines.stored_images import StoredImages, serving_images
from tests.machines.swarm_lab import full_strength_without, serving
from tests.swarm import client

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def stored(swarm: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredImages]:
    with serving_images(swarm, tmp_path_factory.mktemp("registry")) as made:
        yield made


class Pulled(Farm):
    """A service on a Swarm, of whose nodes only one is reached: the manager that DOCKER_HOST names."""

    stored: StoredImages

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DOCKER_HOST": self.lab["web1"].docker_url}

    @property
    def repository(self) -> str:
        return f"{self.stored.host}/{self.name}"

    def push(self, version: str, says: str = "") -> None:
        """Push a version of the test app, which may say that it is another one."""
        assert self.client is not None
        reference, env = f"{self.repository}:{version}", {"DRAIN": "3000"}
        self._images.append(image.build(reference, version=says or version, env=env, client=self.client))
        self.stored.push(reference, self.client)

    def images(self) -> set[str]:
        """Return how nodes are told to name the images of its instances."""
        with client(self.lab["web1"].docker_url) as asked:
            found = asked.services.list(filters={"label": f"deployer.service={self.name}"})
            return {str(each.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]) for each in found}

    def digest(self, node: str, version: str) -> str:
        """Return by which NAME@DIGEST a node knows a version."""
        with engine(self.lab[node]) as asked:
            known = asked.images.get(f"{self.repository}:{version}").attrs["RepoDigests"]
            return next(str(name) for name in known if name.startswith(self.repository))


@pytest.fixture
def farm(nodes: Lab, stored: StoredImages, state: Path) -> Iterator[Pulled]:
    """Yield a service whose images are in the registry, none of it live."""
    with engine(nodes[CONTROL]) as asked:
        folder = state / "s"
        folder.mkdir()
        made = Pulled(folder, nodes, asked, {"web": WEB})
        made.stored = stored
        made.environ["DOCKER_CONFIG"] = str(stored.logged_in)
        for key in ("hosts", "inventory"):
            del made.manifest[key]
        made.write(runtime="swarm", image=f"{made.repository}:{{version}}", replicas=3)
        try:
            made.push("1.0")
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("reached", [{}, {"hosts": "web", "inventory": "inventory", "replicas": 1}], ids=["one", "all"])
def test_nodes_pull_by_digest_with_the_login_of_here(farm: Pulled, nodes: Lab, reached: dict[str, object]) -> None:
    """Nobody reaches those that pull by themselves; what is brought to the others is named alike."""
    farm.write(**reached)
    with engine(nodes["web3"]) as asked, pytest.raises(docker.errors.APIError, match="no basic auth credentials"):
        asked.images.pull(farm.repository, tag="1.0")
    farm.deploy("up", "--version", "1.0")
    assert set(serving(farm).values()) == set(WEB)
    assert farm.images() == {farm.digest("web1", "1.0")}
    assert farm.get().text == "1.0\n"


def test_an_instance_that_moves_has_the_image_of_its_release_pulled_whatever_its_tag_means(
    farm: Pulled, nodes: Lab
) -> None:
    """The manager that is asked takes no tasks, so no node that does is reached from here."""
    nodes["web1"].run("docker", "node", "update", "--availability", "drain", "web1")
    farm.write(replicas=1)
    farm.deploy("up", "--version", "1.0")
    (first,) = serving(farm).values()
    (second,) = {"web2", "web3"} - {first}
    farm.push("1.0", says="another")
    with engine(nodes[second]) as asked:
        assert not [name for names in image.named(asked).values() for name in names if farm.name in name]
    with farm.start("keep"):
        nodes["web1"].run("docker", "node", "update", "--availability", "drain", first)
        full_strength_without(farm, first, 1)
    assert set(serving(farm).values()) == {second}
    assert farm.get().text == "1.0\n"


def test_an_image_that_nodes_may_not_pull_is_refused_before_anything_changes(
    farm: Pulled, nodes: Lab, tmp_path: Path
) -> None:
    """The engine that is asked has it, as somebody pulled it there."""
    farm.deploy("up", "--version", "1.0")
    farm.push("2.0")
    with engine(nodes["web1"]) as asked:
        asked.images.pull(farm.repository, tag="2.0", auth_config={"username": "lab", "password": "open-sesame"})
    farm.environ["DOCKER_CONFIG"] = str(tmp_path)
    told = farm.deploy("up", "--version", "2.0", expect=2).stderr
    assert f"web2, web3 would have to pull {farm.digest('web1', '2.0')}, and cannot: " in told
    assert "docker login" in told
    assert [e["version"] for e in farm.status()["environments"]] == ["1.0"]
    farm.environ["DOCKER_CONFIG"] = str(farm.stored.logged_in)
    farm.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert set(farm.instances("2.0")) <= set(serving(farm))
