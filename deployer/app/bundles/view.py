"""A bundle as it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.app.bundles.install import proven
from deployer.bundle.reader import opened
from deployer.core.errors import Refused
from deployer.views.bundle_data import BundleView, DataView


def look(file: Path, *, checked: bool, signers: Path | None = None, notes: Sequence[str] = ()) -> BundleView:
    """Return what a bundle is; read all of it if it is to be `checked`. Raise Refused where it is not sound."""
    with opened(file) as bundle:
        signer = ""
        if checked:
            try:
                signer = proven(bundle, signers)
            except Refused as error:
                raise Refused(f"{file}: {error.message}", error.hint) from None
            bundle.check()
        contents, index, image = bundle.contents, bundle.index, bundle.contents.image
    return BundleView(
        file=str(file),
        size=bundle.size,
        digest=index.contents,
        service=contents.service,
        version=contents.version,
        runtime=contents.runtime,
        image=image.reference if image else "",
        image_id=image.config.digest if image else "",
        platform=image.platform if image else ", ".join(contents.machines),
        git=contents.git,
        who=contents.who,
        when=contents.when,
        why=contents.why,
        parts=len(contents.parts()),
        left_out=len(index.left_out),
        files=tuple(entry.path for entry in contents.files),
        signed=bool(index.signature),
        signer=signer,
        checked=checked,
        notes=tuple(notes),
        secrets=contents.sealed.names if contents.sealed else (),
        data=tuple(DataView(data.name, data.part.size, data.part.digest) for data in contents.data_parts),
    )
