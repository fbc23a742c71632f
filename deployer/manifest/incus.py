"""The section `incus`: where Incus keeps what runs of a service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployer.manifest.base import Model
from deployer.manifest.text import Spelt

ProjectName = Annotated[
    str,
    Spelt(
        "project",
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
        "the name of a project of Incus: letters, digits and _.-, 63 at most",
        "acme",
    ),
]


class IncusSettings(Model):
    """What Incus is told about the instances of a service (runtime incus)."""

    project: ProjectName = Field(
        description="Project of Incus that has the instances and the image, and whose limits hold for them; without "
        "the section, `$INCUS_PROJECT` or `default`."
    )
