"""What is wrong with a value, in plain words: pydantic's error types translated."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deployer.manifest.base import Model
from deployer.manifest.models import Manifest
from deployer.manifest.shape import bare, field_at, homes, keys_of, section_at, unit_of
from deployer.manifest.text import Misspelt
from deployer.manifest.tree import Items, Node, Path, Scalar

_NAMES_OF_SECRETS = (("apprise",), ("webhook",), ("key",))  # keys of who is told
_SHOWN = 60  # characters of a value that are repeated in a message


@dataclass(frozen=True)
class Wrong:
    """One error of a value: pydantic's type and context, where, and what stands there.

    `root` is the model that `path` is about from its key number `below` on: options of a strategy have their own.
    """

    kind: str
    path: Path
    context: dict[str, Any]
    given: Any
    node: Node | None
    fallback: str
    root: type[BaseModel] = Manifest
    below: int = 0

    @property
    def field(self) -> FieldInfo | None:
        """The field that the error is about, None for an element of a list or mapping."""
        return field_at(self.path[self.below :], self.root)

    def section(self, *, above: bool = False) -> type[BaseModel] | None:
        """Return the section that stands at the path, or the one around it."""
        return section_at(self.path[self.below : -1 if above else None], self.root)


@dataclass(frozen=True)
class Words:
    """What to tell about it; `meant` is the key that a misspelt one probably stands for."""

    message: str
    hint: str = ""
    meant: str = ""


def explain(wrong: Wrong) -> Words:
    """Return what is wrong and what would be right."""
    say = _SAY.get(wrong.kind) or _SAY_LENIENT.get(wrong.kind)
    return say(wrong) if say else Words(wrong.fallback)


def close(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, "" when none is near."""
    return next(iter(get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)), "")


def shown(wrong: Wrong) -> str:
    """Return the value as it is written in the file; "" for what might be a secret or has no short form."""
    if wrong.path[:1] in (("env",), ("secrets",)) or not isinstance(wrong.node, Scalar):
        return ""
    if (wrong.path[:2] == ("notify", "to") and wrong.path[-1:] in _NAMES_OF_SECRETS) or "auth" in wrong.path:
        return ""  # not the name of a secret, so it may be the secret
    text = wrong.node.written
    if re.search("//[^/]*@", text):  # a URL with a password in it
        return ""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return repr(text) if not wrong.node.plain or not text.isprintable() else text


def kind_of(value: Any) -> str:
    """Name the kind of a value."""
    if value is None:
        return "empty"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list | tuple, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "keys with values")


def _missing(wrong: Wrong) -> Words:
    field = wrong.field
    if field and field.examples:
        return Words("is missing", f"e.g. `{wrong.path[-1]}: {field.examples[0]}`")
    return Words("is missing", field.description or "" if field else "")


def _unknown(wrong: Wrong) -> Words:
    *above, key = wrong.path
    section = wrong.section(above=True) or Model
    inside = f"`{_last_name(above)}`" if above else "a manifest"
    message = f"is not a key of {inside}"
    meant = close(str(key), keys_of(section))
    if meant:
        return Words(message, f"did you mean `{meant}`?", meant)
    known = f"known here: {', '.join(keys_of(section)) or 'none'}"
    elsewhere = " or ".join(f"`{home}`" for home in homes(str(key)))
    if not elsewhere:
        return Words(message, known)
    return Words(message, f"it is a key of {elsewhere}; {known}" if above else f"it belongs under {elsewhere}")


def _last_name(path: list[str | int]) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _text(wrong: Wrong) -> Words:
    if wrong.given is None:
        return Words("has no value", 'write "" for an empty text')
    hint = "put it in quotes" if isinstance(wrong.given, bool | int | float) else ""
    return Words(f"must be text, not {kind_of(wrong.given)}", hint)


def _whole(wrong: Wrong) -> Words:
    if isinstance(wrong.given, float):
        return Words(f"must be a whole number, not {wrong.given:g}")
    hint = ""
    if isinstance(wrong.given, str) and wrong.given.isdecimal():
        number = wrong.given.lstrip("0") or "0"
        leading = number != wrong.given
        hint = f"write {number}, without the leading zero" if leading else f"write {number}, without quotes"
    return Words(f"must be a whole number, not {shown(wrong) or kind_of(wrong.given)}", hint)


def _number(wrong: Wrong) -> Words:
    hint = "remove the quotes" if isinstance(wrong.node, Scalar) and not wrong.node.plain else ""
    return Words(f"must be a number, not {shown(wrong) or kind_of(wrong.given)}", hint)


def _endless(_wrong: Wrong) -> Words:
    return Words("must be a number that is not infinite")


def _switch(wrong: Wrong) -> Words:
    told = str(wrong.given).lower()
    hint = {"yes": "write true", "on": "write true", "true": "write true", "1": "write true"}.get(told, "")
    hint = hint or {"no": "write false", "off": "write false", "false": "write false", "0": "write false"}.get(told, "")
    return Words(f"must be true or false, not {kind_of(wrong.given)}", hint)


def _limit(words: str, key: str) -> Callable[[Wrong], Words]:
    def say(wrong: Wrong) -> Words:
        field = wrong.field
        unit = unit_of(field) if field else None
        limit = wrong.context[key]
        text = unit.write(limit) if unit else f"{limit:g}" if isinstance(limit, float) else str(limit)
        return Words(f"must be {words} {text}{_not(wrong)}")

    return say


def _not(wrong: Wrong) -> str:
    text = shown(wrong)
    return f", not {text}" if text else ""


def _list(wrong: Wrong) -> Words:
    text = shown(wrong)
    hint = "write it in [brackets], with commas"
    if text and isinstance(wrong.node, Scalar):
        words = [wrong.node.written]
        if wrong.path[-1] == "command":
            words = _split(wrong.node.written)
        hint = f"write [{', '.join(words)}]"
    return Words(f"must be a list, not {kind_of(wrong.given)}", hint)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


def _mapping(wrong: Wrong) -> Words:
    section = wrong.section()
    field = wrong.field
    named = field is not None and get_origin(bare(field.annotation)) is dict
    hint = (
        f"its keys: {', '.join(keys_of(section)) or 'none'}"
        if section and not named
        else "write NAME: value on each line"
    )
    if isinstance(wrong.node, Items) and not named:
        hint = f"remove the dash; {hint}"
    return Words(f"must be keys with values, not {kind_of(wrong.given)}", hint)


def _choice(wrong: Wrong) -> Words:
    known = [word.strip("'") for word in str(wrong.context["expected"]).replace(" or ", ", ").split(", ")]
    meant = close(str(wrong.given), known)
    return Words(f"must be {' or '.join(known)}{_not(wrong)}", f"did you mean `{meant}`?" if meant else "")


def _value(wrong: Wrong) -> Words:
    error = wrong.context.get("error")
    if isinstance(error, Misspelt):
        because = f": {error.reason}" if error.reason else ""
        return Words(f"must be {error.what}{_not(wrong)}{because}", f"e.g. {error.example}")
    return Words(str(error))


def _too_long(wrong: Wrong) -> Words:
    return Words(f"is longer than {wrong.context['max_length']} characters")


def _too_short(wrong: Wrong) -> Words:
    return Words("has no text" if wrong.context["min_length"] == 1 else "is too short")


def _too_many(wrong: Wrong) -> Words:
    return Words(f"has {wrong.context['actual_length']} entries, {wrong.context['max_length']} at most are allowed")


def _too_few(wrong: Wrong) -> Words:
    return Words(f"needs at least {wrong.context['min_length']} entry")


_SAY: dict[str, Callable[[Wrong], Words]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "string_type": _text,
    "int_type": _whole,
    "float_type": _number,
    "finite_number": _endless,
    "bool_type": _switch,
    "greater_than_equal": _limit("at least", "ge"),
    "greater_than": _limit("more than", "gt"),
    "less_than_equal": _limit("at most", "le"),
    "less_than": _limit("less than", "lt"),
    "tuple_type": _list,
    "dict_type": _mapping,
    "model_type": _mapping,
    "literal_error": _choice,
    "value_error": _value,
    "string_too_long": _too_long,
    "string_too_short": _too_short,
    "too_short": _too_few,
    "too_long": _too_many,
}
# Of models that are not strict, as the options of strategies.
_SAY_LENIENT = {"bool_parsing": _switch, "int_parsing": _whole, "float_parsing": _number}
