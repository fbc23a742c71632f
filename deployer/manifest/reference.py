"""Write docs/manifest.md from the models: python -m deployer.manifest.reference > docs/manifest.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deployer.manifest import text, variables
from deployer.manifest.base import Model
from deployer.manifest.shape import bare, marks, section_in, sections, unit_of
from deployer.manifest.strategy import Strategy
from deployer.manifest.template import quoted
from deployer.manifest.text import Spelt
from deployer.manifest.units import LONGEST, LONGEST_WAIT, write_seconds

_INTRO = """\
# The manifest

One file, `deploy.yml`, describes one service. This page is generated from the models that check it
(`python -m deployer.manifest.reference`); `deploy schema` prints the same as a JSON Schema for editors, and
`deploy init` writes a first one. Five lines are enough:

```yaml
service: shop
image: registry.example.com/shop:{version}
port: 8080
health: {http: /up}
traffic: {domains: [shop.example.com]}
```

Every other key has a sensible default. All mistakes are refused before anything changes, all at once,
each with file, line, key and what would be right:

```
deploy.yml:4: health.rise: must be at most 100, not 200
deploy.yml:5: traffic.domain: is not a key of `traffic` → did you mean `domains`?
```

## How values are written

- YAML, at most 1 MiB, one document, no tags; anchors, aliases and `<<` work. Only `true` and `false` are switches and
  a number has no leading zero: `yes`, `on`, `0777` and `12:30` are text.
- In `env` and other places that take text a number stays as it was typed: `1.10` is not `1.1`.
- A **duration** is written `500ms`, `30s`, `10m`, `1h30m`, `2d`, or as a plain number of seconds; a **size** `64m`,
  `2g`, or as a plain number of bytes; a **percentage** `0.5%`; a **ratio** `1.5x`. What is waited for lasts 24 days at
  most, anything else 100 years.
- A key without a value has its default.
- Paths of files are relative to the folder of the manifest.

Text that has a form of its own:

{spellings}

## Variables

In values (never in keys), from the environment of the command, else from a file `.env` beside the manifest, written as
in the Compose specification:

{variables}

A value without quotes that holds a variable is read again once it is filled in, so `replicas: ${COUNT}` is a number;
one in quotes stays text. Within `[ ]` and `{ }` put it in quotes. Secrets do not belong here, but under `secrets`: what
a variable holds becomes part of the release and is shown. `secrets: [NAME]` looks in `.env` too.

## Files of variables

`env_file: .env`, or a list of files, gives instances variables from files, read as Compose reads an `env_file`:

- `NAME=value` on each line, `export` in front is allowed; lines that start with `#` are comments, and so is ` #` with
  what follows it behind a value without quotes
- in `'single quotes'` everything stays as it is; in `"double quotes"` `\\n`, `\\t`, `\\"` are escapes; both may go over
  several lines
- without quotes and in double quotes `$NAME` and the forms above are filled in: from the environment, then from the
  files before and the lines above; a `NAME` without `=` takes the value of the environment, or is left out
- a later file wins over an earlier one; `env` and `secrets` win over files
- what Compose would replace by nothing with a warning, a variable that is not set, is refused with its line; so is a
  line whose quotes can be read in two ways

The values become part of the release, like those of `env`: a rollback brings them back, and a changed file makes a new
release. They are shown where `env` is shown. Name a password under `secrets` too (`secrets: [DB_PASSWORD]`) and it is
taken from `.env`, kept apart, and never shown.

## Destinations

`deploy.staging.yml` beside `deploy.yml` holds what is different at the destination `staging`; `-d staging` merges
it over the manifest:

- mappings are merged key by key; lists and single values are replaced; a key without a value goes back to its default
- the service is called `shop-staging` there, so that both can run side by side, unless the overlay sets `service`
"""

_KINDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}
# Of durations; the introduction names them
_USUAL = ("at least 0s", f"at most {write_seconds(LONGEST_WAIT)}", f"at most {write_seconds(LONGEST)}")
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def reference() -> str:
    """Return the page as Markdown."""
    listed = "\n".join(line for line in (variables.__doc__ or "").splitlines() if line.startswith("|"))
    intro = _INTRO.replace("{variables}", listed).replace("{spellings}", "\n".join(_spellings()))
    return "\n".join((intro, "## Keys", "", *_tables())).rstrip() + "\n"


def _spellings() -> Iterator[str]:
    yield "| form | must be | e.g. |"
    yield "|---|---|---|"
    for kind in vars(text).values():
        for spelt in (mark for mark in marks(kind) if isinstance(mark, Spelt)):
            yield f"| {spelt.noun} | {spelt.what} | `{spelt.example.replace(' or ', '` or `')}` |"


def _tables() -> Iterator[str]:
    for section, path in _places().items():
        yield f"### {path}" if path else "### The service"
        yield ""
        yield (section.__doc__ or "").replace("\n    ", "\n").strip()
        yield ""
        yield "| key | type | default | meaning |"
        yield "|---|---|---|---|"
        for name, field in section.model_fields.items():
            yield _row(path, field.alias or name, field)
        yield ""


def _places() -> dict[type[BaseModel], str]:
    """Return each section with the first path at which it stands: it is described there."""
    found: dict[type[BaseModel], str] = {}
    for path, section in sections():
        found.setdefault(section, path)
    return found


def _row(path: str, name: str, field: FieldInfo) -> str:
    kind = _kind(field, f"{path}.{name}".lstrip("."))
    cells = (f"`{name}`", kind, _default(field), field.description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(field: FieldInfo, path: str) -> str:
    metadata = (*field.metadata, *marks(field.annotation))
    if bare(field.annotation) == bare(Strategy) or any(mark in get_args(Strategy)[1:] for mark in metadata):
        return "name, or name with options"
    unit = unit_of(field)
    kind = unit.name if unit else _named(field.annotation, field.metadata, path)
    bounds = [
        f"{words} {_bound(field, getattr(m, key))}" for key, words in _BOUNDS for m in metadata if hasattr(m, key)
    ]
    shown = [bound for bound in bounds if bound not in _USUAL]
    return f"{kind}, {' and '.join(shown)}" if shown else kind


def _bound(field: FieldInfo, limit: float) -> str:
    unit = unit_of(field)
    return unit.write(limit) if unit else f"{limit:g}"


def _named(annotation: Any, metadata: Any, path: str) -> str:
    kind = bare(annotation)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in args)
    if origin in (Union, UnionType):
        return " or ".join(_named(one, (), path) for one in args)
    if origin is tuple:
        section = section_in(kind)
        place = _places()[section] if section else ""
        return f"list of [{place}](#{_anchor(place)})" if section else f"list of {_named(args[0], (), path)}"
    if origin is dict:
        return f"NAME: {_named(args[1], (), f'{path}.NAME')}"
    if isinstance(kind, type) and issubclass(kind, Model):
        place = _places().get(kind, path)
        return f"[{place}](#{_anchor(place)})"
    spelt = next((mark for mark in (*metadata, *marks(annotation)) if isinstance(mark, Spelt)), None)
    return spelt.noun if spelt else _KINDS[kind]


def _anchor(path: str) -> str:
    """Name the heading of a section as GitHub does."""
    return "".join(c for c in path.lower() if c.isalnum() or c in "-_")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    unit = unit_of(field)
    if value is None or isinstance(value, Model) or value in ((), {}):
        return ""
    return f"`{unit.write(value) if unit else _written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(_written(item) for item in value)}]"
    return quoted(value) if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(reference())
