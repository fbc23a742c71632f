"""What pages load: two style sheets, two modules, an icon. They travel with the package and come from nowhere else."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response

from deployer.server.messages import missing

_HERE = "deployer.server.page"
# name: package, file in it, type
FILES = {
    "page.css": (_HERE, "assets/page.css", "text/css"),
    "report.css": ("deployer.views.report", "style.css", "text/css"),
    "page.js": (_HERE, "assets/page.js", "text/javascript"),
    "idiomorph.js": (_HERE, "assets/idiomorph.js", "text/javascript"),
    "icon.svg": (_HERE, "assets/icon.svg", "image/svg+xml"),
}

router = APIRouter()


@router.get("/assets/{name}")
async def asset(name: str, request: Request) -> Response:
    """Return a file; a browser that has it already gets 304."""
    if name not in FILES:
        raise missing(f"there is no {name[:40]!a} here")
    content, mark = _read(name)
    headers = {"cache-control": "no-cache", "etag": mark}  # asked for each time: a new server may have new ones
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=FILES[name][2], headers=headers)


@cache
def _read(name: str) -> tuple[bytes, str]:
    package, file, _ = FILES[name]
    content = resources.files(package).joinpath(file).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:20]}"'
