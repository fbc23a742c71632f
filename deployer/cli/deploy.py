"""`deploy up`, `deploy plan`, and a command for each strategy, made from its options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from deployer.cli.opening import open_app
from deployer.cli.options import BUNDLE_TRUST, DIRTY, OVERRIDE_FREEZE, Common, Shared, common, every
from deployer.cli.orders import carry_out
from deployer.cli.output import print_result
from deployer.core.errors import Exit, Refused
from deployer.manifest.units import Unit
from deployer.planning.orders import Order
from deployer.planning.strategy import load as load_strategy

_SHARED: tuple[Shared, ...] = ("file", "destination", "service", "message", "report", "on_cancel")
_DEPLOY = (
    click.option(
        "--version",
        "version",
        metavar="V",
        help="Version to deploy; overrides the manifest. With `build` the default is the Git revision.",
    ),
    DIRTY,
    click.option(
        "--from",
        "bundle",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Deploy this bundle (`deploy bundle make`) instead of a manifest.",
    ),
    *BUNDLE_TRUST,
    click.option(
        "--replace",
        is_flag=True,
        help="First roll back the rollout in progress, even if another process is running it.",
    ),
    OVERRIDE_FREEZE,
)
_PLAN = (
    click.option("--plan", "only_plan", is_flag=True, help="Show the plan and change nothing."),
    click.option("--check", is_flag=True, help="With --plan: exit with 10 if there is something to deploy."),
)


@click.command("up")
@common(*_SHARED)
@every(_DEPLOY + _PLAN)
def up(common: Common, **given: Any) -> int:
    """Deploy with the manifest's strategy; redeploying an unchanged release is a no-op."""
    order = _order(common, "", {}, given)
    return _plan(common, order, check=given["check"]) if order.action == "plan" else carry_out(common, order)


_PLAN_HELP = (
    "Show what a deploy would do and change nothing: `deploy plan [STRATEGY] [OPTIONS]`, with the options of"
    " `deploy STRATEGY` (of `deploy up` without one). With --check it exits with 10 if there is something to deploy."
)


@click.command(
    "plan",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    help=_PLAN_HELP,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def plan(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Parse the rest as the strategy's own command would, with --plan."""
    words = list(arguments)
    if words and not words[0].startswith("-"):
        command = strategy(words.pop(0))
        name = f"plan {command.name}"
    else:
        command, name = click.Command("up", callback=up.callback, params=up.params, help=_PLAN_HELP), "plan"
    with command.make_context(name, ["--plan", *words], parent=ctx.parent) as inner:
        return int(command.invoke(inner))


def strategy(name: str) -> click.Command:
    """Make the command of a strategy: its own options besides the common ones."""
    found = load_strategy(name, Path.cwd())

    def run(common: Common, **given: Any) -> int:
        own = {key: given[f"own_{key}"] for key in found.options.model_fields}
        order = _order(common, name, given_options(found.options, own), given)
        return _plan(common, order, check=given["check"]) if order.action == "plan" else carry_out(common, order)

    decorated = common(*_SHARED)(every(own_options(found.options) + _DEPLOY + _PLAN)(run))
    return click.command(name, help=found.help)(decorated)


def own_options(options: type[BaseModel]) -> tuple[Any, ...]:
    """Return the options of the command line that a strategy has of its own."""
    defaults = _defaults(options)
    return tuple(_option(key, field, defaults.get(key)) for key, field in options.model_fields.items())


def _option(key: str, field: FieldInfo, default: str | None) -> Any:
    flag = f"--{(field.alias or key).replace('_', '-')}"
    text = field.description or ""
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", f"own_{key}", default=None, help=text)
    help_text = text + (f"  [default: {default}]" if default else "")
    return click.option(flag, f"own_{key}", metavar="A,B,…" if _is_list(field) else "VALUE", help=help_text)


def _defaults(options: type[BaseModel]) -> dict[str, str]:
    """Return the defaults of a strategy's options as they would be typed; none for a model that needs an option."""
    try:
        values = options().model_dump(mode="json")
    except ValidationError:
        return {}
    given = {key: value for key, value in values.items() if value not in (None, False, [])}
    return {key: _typed(options.model_fields[key], value) for key, value in given.items()}


def _typed(field: FieldInfo, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_typed(field, next(iter(v.values())) if isinstance(v, dict) else v) for v in value)
    unit = next((m for m in field.metadata if isinstance(m, Unit)), None)
    if unit and unit.name == "duration":
        return unit.write(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) in (tuple, list) or any(
        get_origin(a) in (tuple, list) for a in get_args(field.annotation)
    )


def given_options(options: type[BaseModel], own: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what was given on the command line, under the names that the manifest uses."""
    given: dict[str, Any] = {}
    for key, field in options.model_fields.items():
        value = own[key]
        if value is not None:
            given[field.alias or key] = value.split(",") if _is_list(field) else _plain(field, value)
    return given


def _plain(field: FieldInfo, value: Any) -> Any:
    """Take a number for one, as YAML would; all that a command line has is text."""
    if field.annotation is str or not isinstance(value, str):
        return value
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value


def _order(common: Common, strategy: str, options: dict[str, Any], given: Mapping[str, Any]) -> Order:
    """Return the order that a command line gives. Raise UsageError for what contradicts itself."""
    if given["check"] and not given["only_plan"]:
        raise click.UsageError("--check goes with --plan (or `deploy plan --check`)")
    if given["only_plan"] and common.report:
        raise click.UsageError("--report is for the outcome of a deploy; for a plan use `--plan --output json`")
    if given["version"] == "":
        raise click.UsageError("--version is empty")
    if given["bundle"]:
        _refuse_beside_bundle(common, given)
    elif any(given[name] for name in ("signers", "allow_unsigned", "identity", "data")):
        raise click.UsageError("--signers, --allow-unsigned, --identity and --data go with --from")
    return Order(
        "plan" if given["only_plan"] else "start",
        common.service or "",
        common.message,
        manifest=str(common.file),
        destination=common.destination or "",
        strategy=strategy,
        version=given["version"] or "",
        options=options,
        replace=given["replace"],
        override_freeze=given["override_freeze"],
        dirty=given["dirty"],
        bundle=str(given["bundle"] or ""),
        signers=str(given["signers"] or ""),
        unsigned=given["allow_unsigned"],
        identity=str(given["identity"] or ""),
        data=given["data"] or "",
    )


def _refuse_beside_bundle(common: Common, given: Mapping[str, Any]) -> None:
    """Raise UsageError for what a bundle decides itself, and Refused where it would have to travel to a server."""
    other = {"-f": common.named, "-d": common.destination, "--version": given["version"], "--dirty": given["dirty"]}
    if wrong := next((name for name, value in other.items() if value), ""):
        raise click.UsageError(f"--from brings its own manifest and version: not with {wrong}")
    if common.server is not None:
        raise Refused(
            f"--from reads a file of this host, and {common.server.told_by} deploys on another one",
            "send it there (`deploy bundle send FILE HOST`), and call `deploy up --from FILE` there",
        )


def _plan(common: Common, order: Order, *, check: bool) -> int:
    """Print what a deploy would do."""
    with open_app(common) as app:
        proposed = app.plan(order)
    if proposed.same:
        sys.stderr.write(f"{proposed.plan.version} is live already: nothing to deploy\n")
    if not proposed.same or common.output == "json":
        print_result(proposed.plan, common.output)
    return int(Exit.CHANGES if check and not proposed.same else Exit.DONE)
