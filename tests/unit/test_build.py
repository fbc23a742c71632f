"""`build`: what is built of which revision, what is refused, and that nothing is built twice."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.operations import DeployRequest
from deployer.core.errors import Exit, ManifestRefused, Refused
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from tests.house import Scene

MANIFEST = "service: shop\nport: 8080\nbuild: .\n"


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        yield scene


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "app.py").write_text("first\n")
    git(folder, "init", "-q")
    commit(folder)
    (folder / "deploy.yml").write_text(MANIFEST)  # as `deploy init` leaves it
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def asked(folder: Path, **more: Any) -> DeployRequest:
    return DeployRequest(load(folder, environ={}), "bluegreen", {}, **more)


def builds(scene: Scene) -> list[str]:
    return [event.data["text"] for event in scene.events if str(event.data.get("text", "")).startswith("building")]


def test_the_version_is_the_revision_and_the_image_is_pinned(scene: Scene, tree: Path) -> None:
    revision = git(tree, "rev-parse", "--short=12", "HEAD")

    assert operations.deploy(scene.house, asked(tree)).exit == Exit.DONE
    release = scene.house.store.releases.get("shop", 1)
    assert (release.version, release.image, release.image_id) == (
        revision,
        f"shop:{revision}",
        f"sha256:shop:{revision}",
    )


def test_the_same_revision_is_built_once(scene: Scene, tree: Path) -> None:
    operations.deploy(scene.house, asked(tree))
    ending = operations.deploy(scene.house, asked(tree))

    assert "nothing to do" in ending.text
    assert len(builds(scene)) == 1


def test_the_same_revision_is_built_again_for_other_arguments(scene: Scene, tree: Path) -> None:
    operations.deploy(scene.house, asked(tree))
    (tree / "deploy.yml").write_text(MANIFEST.replace("build: .", "build: {args: {MODE: fast}}"))
    operations.deploy(scene.house, asked(tree))

    assert len(builds(scene)) == 2


@pytest.mark.parametrize("name", ["app.py", "new.py"])
def test_changes_that_are_not_committed_are_refused_by_name(scene: Scene, tree: Path, name: str) -> None:
    (tree / name).write_text("second\n")

    with pytest.raises(Refused, match=f"has changes that are not committed: {name}") as refused:
        operations.deploy(scene.house, asked(tree, version="2.0"))
    assert "--dirty" in refused.value.hint
    assert builds(scene) == []


def test_dirty_builds_them_under_a_name_that_says_so(scene: Scene, tree: Path) -> None:
    operations.deploy(scene.house, asked(tree))
    (tree / "app.py").write_text("second\n")
    operations.deploy(scene.house, asked(tree, dirty=True))

    assert scene.house.store.releases.get("shop", 2).version.endswith("-dirty")


def test_what_git_ignores_and_what_is_outside_of_the_context_is_no_change(scene: Scene, tree: Path) -> None:
    (tree / ".gitignore").write_text(".env\n")
    (tree / "src").mkdir()
    (tree / "src" / "Dockerfile").write_text("FROM scratch\n")
    commit(tree)
    (tree / ".env").write_text("A=a\n")
    (tree / "app.py").write_text("second\n")
    (tree / "deploy.yml").write_text(MANIFEST.replace("build: .", "build: src"))

    assert operations.deploy(scene.house, asked(tree)).exit == Exit.DONE


def test_outside_of_git_a_version_is_needed(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "deploy.yml").write_text(MANIFEST)

    with pytest.raises(Refused, match="is in no Git work tree") as refused:
        operations.deploy(scene.house, asked(tmp_path))
    assert "--version" in refused.value.hint
    assert operations.deploy(scene.house, asked(tmp_path, version="1")).exit == Exit.DONE
    assert scene.house.store.releases.get("shop", 1).image == "shop:1"


def test_the_short_form_and_the_record(tree: Path) -> None:
    manifest = load(tree, environ={}).manifest

    assert manifest.image == "shop"
    assert manifest.build is not None
    assert (manifest.build.context, manifest.build.dockerfile) == (".", "Dockerfile")
    assert Manifest.from_record(manifest.record()) == manifest


def test_a_missing_dockerfile_is_refused_with_its_line(tree: Path) -> None:
    (tree / "Dockerfile").unlink()

    with pytest.raises(ManifestRefused) as refused:
        load(tree, environ={})
    (problem,) = refused.value.problems
    assert (problem.where, problem.path) == ("deploy.yml:3", "build.dockerfile")
