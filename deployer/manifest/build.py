"""The section `build`: how the image of a service is built."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from deployer.manifest.base import Model
from deployer.manifest.text import EnvName, FilePath, Text
from deployer.manifest.units import Wait


class Build(Model):
    """Builds the image by the Docker engine of this host; `build: .` names the context alone."""

    context: FilePath = Field(".", description="Folder that is sent to the builder, relative to the manifest.")
    dockerfile: FilePath = Field("Dockerfile", description="Dockerfile, relative to the context.")
    target: Text | None = Field(None, description="Stage of the Dockerfile to build.")
    args: dict[EnvName, Text] = Field(
        default_factory=dict, description="Build arguments (ARG); they are shown, secrets do not belong here."
    )
    secrets: tuple[EnvName, ...] = Field(
        (), description="Names of `secrets` for `RUN --mount=type=secret,id=NAME`; no layer of the image has them."
    )
    platform: Text | None = Field(None, description="Platform of the image, e.g. linux/arm64; else the builder's.")
    cache_from: tuple[Text, ...] = Field(
        (), description="Where layers may be taken from, as `docker buildx build --cache-from` has it."
    )
    cache_to: tuple[Text, ...] = Field(
        (), description="Where layers are kept for later builds, as `docker buildx build --cache-to` has it."
    )
    builder: Text | None = Field(
        None,
        description="Builder of `docker buildx`, e.g. one on another host; the image is loaded into the engine here.",
    )
    timeout: Wait = Field(1800.0, gt=0, description="Time a build may take.")

    @model_validator(mode="before")
    @classmethod
    def _bare_context(cls, data: Any) -> Any:
        return {"context": data} if isinstance(data, str) else data
