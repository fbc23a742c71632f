"""A look at a file that need not be right: which service, or which set of services, is it about?"""

from __future__ import annotations

from pathlib import Path

from deployer.core.errors import Refused

_MOST = 1024 * 1024  # bytes of a manifest


def service_of(path: Path, destination: str = "") -> str:
    """Return the name of the service, unchecked; nothing where there is no file, or no name in it.

    Raises Refused when it cannot be read.
    """
    from deployer.emergency import argv, endpoint

    plain = argv.of_manifest(str(path), destination)
    if plain and endpoint.is_name(plain):
        return plain
    name = _top(path, "service", "name the service with --service NAME")
    return f"{name}-{destination}" if name and destination else name


def set_of(path: Path) -> str:
    """Return the name of the set of a release file, unchecked; nothing where there is no file, or no name in it.

    Raises Refused when it cannot be read.
    """
    return _top(path, "release", "name the set with --set NAME")


def _top(path: Path, key: str, hint: str) -> str:
    import yaml

    try:
        with path.open("rb") as file:
            data = yaml.safe_load(file.read(_MOST))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise Refused(f"{path} cannot be read: {why}", hint) from None
    name = data.get(key) if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""
