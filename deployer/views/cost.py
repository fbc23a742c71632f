"""What services cost in instance-hours, for people and for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from deployer.views.cost_data import CostsView, CostView, ReleaseCost
from deployer.views.text import columns, duration, moment, one_line, percentage, release

Ink = Callable[[str, str], str]
HEADS = ("service", "release", "version", "hours", "beside", "saved by scaling", "saved by sleep", "idle")


def costs(view: CostsView, _: float, ink: Ink) -> list[str]:
    """Write the instance-hours of each service, by release, and what was saved."""
    out = [f"{ink('from', 'dim')} {moment(view.since)} {ink('to', 'dim')} {moment(view.until)}", ""]
    if not view.services:
        return [*out, "no service was ever deployed from here"]
    heads = ("", "release", "hours", "beside", "scaling saved", "sleep saved")
    rows = [[ink(head, "dim") for head in heads]]
    for each in view.services:
        rows += _service(each, ink)
    out += columns(rows, right=range(2, 6))
    notes = [_idle(each) for each in view.services if each.idle is not None]
    return [*out, *([""] if notes else []), *(f"{ink('idle', 'dim')}: {note}" for note in notes)]


def _service(view: CostView, ink: Ink) -> Iterator[list[str]]:
    """Write a line for each release, and one for all where there are several."""
    name = ink(one_line(view.service), "bold")
    if not view.releases:
        yield [name, "–", *_numbers(view.total)]
    for number, each in enumerate(view.releases):
        yield [name if not number else "", release(each.release, each.version), *_numbers(each)]
    if len(view.releases) > 1:
        yield ["", "all", *_numbers(view.total)]


def _numbers(cost: ReleaseCost) -> list[str]:
    return [f"{cost.hours:,.2f}", *(f"{hours:,.2f}" if hours else "–" for hours in (cost.beside, *_saved(cost)))]


def _saved(cost: ReleaseCost) -> tuple[float, float]:
    return cost.scaling, cost.sleep


def _idle(view: CostView) -> str:
    part = percentage(round(view.idle or 0.0, 3))
    return (
        f"{one_line(view.service)} did not use {part} of its room in the {duration(view.seen)} that the keeper watched"
    )


def as_csv(view: CostsView) -> str:
    """Write a row for each release; `idle` is that of the service."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    for service in view.services:
        idle = "" if service.idle is None else f"{service.idle:.4f}"
        for each in service.releases:
            hours = (f"{number:.4f}" for number in (each.hours, each.beside, *_saved(each)))
            writer.writerow((service.service, each.release, _cell(each.version), *hours, idle))
    return out.getvalue()


def _cell(text: str) -> str:
    """Write a text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
