"""Strategies as plugins: finding, loading and calling them. The built-in ones are loaded in the same way.

A strategy is a module with a model `Options` (pydantic) and a function `plan(observed, release, options) -> Plan`.
Options with an `alone` that is true promise that
the release never runs beside another one: neither in this plan, nor later, in a rollback or a repair.
It is found as `strategies/NAME.py` beside the manifest, as an entry point NAME of the group `deployer.strategies`, or
among the built-in ones, in this order.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from deployer.core.errors import DeployError, Problem, Refused
from deployer.core.plugins import STRATEGIES, installed
from deployer.core.resources import builtin
from deployer.manifest.base import Conflict
from deployer.manifest.models import Manifest
from deployer.manifest.shape import keys_of
from deployer.manifest.tree import Position, literal, node_at, spell
from deployer.manifest.words import Wrong, explain
from deployer.model import Observed, Release
from deployer.planning.migration import with_expand
from deployer.planning.plan import Plan
from deployer.planning.recipes import with_consent

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Strategy:
    """A loaded strategy."""

    name: str
    help: str
    options: type[BaseModel]
    plan: Callable[[Observed, Release, Any], Plan]
    source: str

    def parse(self, given: dict[str, Any]) -> BaseModel:
        """Check options. Raises Refused with every problem at once."""
        found = tuple(self.conflicts(given))
        if not found:
            return self.options.model_validate(given)
        above = spell(("strategy", self.name))
        lines = [
            f"  {Problem('', c.at.removeprefix(above).lstrip('.') or 'options', c.message, c.hint)}" for c in found
        ]
        known = ", ".join(keys_of(self.options)) or "none"
        raise Refused(
            "\n".join([f"the options of strategy {self.name} were refused:", *lines]), f"its options: {known}"
        )

    def conflicts(self, given: dict[str, Any]) -> Iterator[Conflict]:
        """Yield what is wrong with options, each where a manifest has it, e.g. at `strategy.canary.steps[0]`."""
        above = ("strategy", self.name)
        tree = literal({"strategy": {self.name: given}}, Position("command line"))
        try:
            self.options.model_validate(given)
        except ValidationError as errors:
            for error in errors.errors(include_url=False):
                path, context = (*above, *error["loc"]), error.get("ctx", {})
                said = error["msg"].removeprefix("Value error, ")
                where = Wrong(error["type"], path, context, error["input"], node_at(tree, path), said)
                words = explain(replace(where, root=self.options, below=len(above)))
                yield Conflict(spell(path), words.message, words.hint)

    def make(self, observed: Observed, release: Release, options: BaseModel) -> Plan:
        """Make the plan. A strategy that fails is named: it may be the user's own code."""
        try:
            plan = self.plan(observed, release, options)
        except DeployError:
            raise
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise Refused(
                f"strategy {self.name} ({self.source}) failed: {type(error).__name__}: {error}"
                f" ({Path(line.filename).name}, line {line.lineno})",
                "fix its plan() function",
            ) from error
        if not isinstance(plan, Plan):
            raise Refused(
                f"strategy {self.name} ({self.source}) returned {type(plan).__name__}, not a Plan", "use Plan.make"
            )
        self._refuse(plan, observed, release)
        return with_expand(with_consent(plan, release.manifest.approve), release)

    def _refuse(self, plan: Plan, observed: Observed, release: Release) -> None:
        """Refuse a plan that was made around `Plan.make`, or for something else than was asked for."""
        problem = plan.problem()
        if (plan.service, plan.release) != (release.service, release.number):
            problem = f"the plan is for {plan.service} r{plan.release}, not for {release.service} r{release.number}"
        if problem:
            raise Refused(f"strategy {self.name}: {problem}", "this is a mistake of the strategy, not of the manifest")
        self._refuse_company(plan, observed, release)

    def _refuse_company(self, plan: Plan, observed: Observed, release: Release) -> None:
        """Refuse a plan that runs a release beside another one where one of them must be alone."""
        stable = observed.stable
        problem = plan.company(observed.standing)
        if not problem or (not release.alone and (stable is None or not stable.alone)):
            return
        if release.manifest.single:
            raise Refused(
                f"strategy {self.name}: {release.name} is `single` and runs beside no other release, but {problem}",
                "`deploy recreate` stops the old one first",
            )
        if release.alone:
            raise Refused(
                f"strategy {self.name}: it promises that {release.name} never runs beside another release,"
                f" but {problem}",
                "this is a mistake of the strategy, not of the manifest",
            )
        kept = stable.name if stable else release.name
        raise Refused(
            f"{kept} must not run beside another release: the strategy that deployed it promised so;"
            f" with {self.name}, {problem}",
            "`deploy recreate` stops it first; for a service of which two releases may run at once now:"
            " `deploy recreate --once`",
        )


def own_root(manifest: Manifest, folder: Path) -> Path | None:
    """Return below which folder a manifest may have strategies of its own; None for a guest: they are code run here."""
    return None if manifest.tenant else folder


def folders(root: Path | None) -> tuple[Path, ...]:
    """Return the folders that are searched, the user's own first, where there may be some."""
    own = (root / "strategies",) if root is not None else ()
    return (*own, builtin("strategies"))


def names(root: Path | None) -> tuple[str, ...]:
    """List the strategies that exist, without loading any."""
    files = {p.stem for folder in folders(root) if folder.is_dir() for p in folder.glob("*.py")}
    plugged = {e.name for e in installed(STRATEGIES)}
    return tuple(sorted(n for n in files | plugged if NAME.fullmatch(n)))


def fitting(manifest: Manifest, folder: Path, *, alone: bool) -> tuple[str, ...]:
    """List the strategies that may follow the live release, the manifest's first.

    Where that release runs `alone`, only those of which the next one does too.
    """
    own, root = manifest.strategy_name, own_root(manifest, folder)
    known = dict.fromkeys((own, *names(root)))
    return tuple(name for name in known if name == own or not alone or _runs_alone(name, manifest, root))


def _runs_alone(name: str, manifest: Manifest, root: Path | None) -> bool:
    try:
        options = load(name, root).parse(manifest.strategy_options(name))
    except Refused:  # it cannot be chosen without options
        return False
    return bool(getattr(options, "alone", False))


def load(name: str, root: Path | None) -> Strategy:
    """Load a strategy by name, looking in `root` (`own_root`) first.

    Raises Refused when there is none, or when it is not a strategy.
    """
    *own, builtins = folders(root)
    if NAME.fullmatch(name):
        for file in (folder / f"{name}.py" for folder in own):
            if file.is_file():
                return _checked(name, _from_file(file), str(file))
        for entry in (e for e in installed(STRATEGIES) if e.name == name):
            return _checked(name, entry.load(), entry.value)
        if (builtins / f"{name}.py").is_file():
            return _checked(name, _from_file(builtins / f"{name}.py"), "built in")
    yours = "".join(f"; yours go into {folder}/NAME.py" for folder in own)
    raise Refused(f"there is no strategy {name!r}", f"there are: {', '.join(names(root))}{yours}")


def of_manifest(manifest: Manifest, folder: Path) -> Iterator[Conflict]:
    """Yield what is wrong with the strategy that a manifest names, and with its options there."""
    name, root = manifest.strategy_name, own_root(manifest, folder)
    known = names(root)
    if name not in known:
        meant = next(iter(get_close_matches(name.replace("-", "").replace("_", ""), known, n=1)), "")
        hint = f"did you mean `{meant}`?" if meant else f"there are: {', '.join(known)}"
        yield Conflict("strategy", f"there is no strategy {name!r}", hint)
    else:
        yield from load(name, root).conflicts(manifest.strategy_options(name))


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"deployer_strategy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Refused(f"{path} cannot be loaded as Python", _example())
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks annotations up in the module by its name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise Refused(f"{path} failed while it was loaded: {type(error).__name__}: {error}", "fix the file") from error
    return module


def _example() -> str:
    return f"a short one that works: {builtin('strategies') / 'recreate.py'}"


def _checked(name: str, module: Any, source: str) -> Strategy:
    options, plan = getattr(module, "Options", None), getattr(module, "plan", None)
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise Refused(f"strategy {name} ({source}) has no pydantic model named Options", _example())
    if not callable(plan):
        raise Refused(f"strategy {name} ({source}) has no function plan(observed, release, options)", _example())
    text = (module.__doc__ or "").strip().partition("\n")[0]
    return Strategy(name, text or f"The strategy {name}.", options, plan, source)
