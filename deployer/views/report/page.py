"""The report as one page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from importlib import resources

from deployer.views.report import plots, sections, times
from deployer.views.report.data import ReportView
from deployer.views.report.headline import KINDS, headline, tiles
from deployer.views.report.markup import Content, Markup, tag, text
from deployer.views.text import moment, release, zone

# Nothing may be loaded, whatever got into the text.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(view: ReportView) -> str:
    """Write the page."""
    title = f"{view.service}: {headline(view)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", tag("main", _top(view), _cause(view), _tiles(view), *_parts(view)), _foot(view))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _top(view: ReportView) -> Markup:
    row = view.rollout
    origin = release(row.origin, view.origin_version) if row.origin else "first deploy"
    name = release(row.release, row.version)
    way = f"{row.strategy} · {name if row.origin == row.release else f'{origin} → {name}'}"
    chip = tag("span", row.outcome or "in progress", class_=f"chip {KINDS.get(row.outcome, '')}")
    line = tag("p", chip, tag("b", view.service), f" rollout {row.number} · {way}", class_="over")
    message = tag("p", f"“{row.message}”", class_="message") if row.message else None
    return tag("header", line, tag("h1", headline(view)), message)


def _cause(view: ReportView) -> Markup | None:
    log = tag("pre", "\n".join(view.log), tabindex="0") if view.log else None
    trips: Content = [tag("p", tag("b", kind), " ", words, class_="trip") for kind, words in view.trips]
    remedy = tag("p", tag("b", "→ "), view.remedy) if view.remedy and view.rollout.exit else None
    if not (view.cause or view.trips):
        return None
    kind = KINDS.get(view.rollout.outcome, "")
    return tag("section", tag("h2", "Why"), tag("p", view.cause), remedy, trips, log, class_=f"why {kind}")


def _tiles(view: ReportView) -> Markup:
    return tag(
        "ul",
        [
            tag("li", tag("b", t.value), tag("span", t.name), tag("small", t.note) if t.note else None, class_=t.kind)
            for t in tiles(view)
        ],
        class_="tiles",
    )


def _parts(view: ReportView) -> list[Markup]:
    figures = [figure.render() for figure in plots.traffic(view)]
    thirds = [figure.render() for figure in plots.answer_times(view)]
    proof = [figure.render() for figure in plots.evidence(view)]
    numbers = sections.numbers_of_plots(view)
    missing = None if view.points or not view.watches else tag("p", "Nothing was recorded of it: there are no plots.")
    parts = [
        _part("What users got", missing, figures),
        _part("Latency", tag("div", thirds, class_="thirds") if thirds else None),
        _part("How sure it is", proof, sections.verdicts(view)),
        _part("Both sides, watch by watch", sections.watches(view)),
        _part("External metrics", sections.metrics(view)),
        _part("Numbers of the plots", numbers, fold=True),
        _part("Steps", sections.steps(view)),
        _part("Timeline", sections.timeline(view), fold=True),
        _part("Instances", sections.instances(view)),
        _part("Who, when, what", sections.facts([*_who(view), *view.about])),
        _part("Policy of the judge", sections.facts(sections.policy(view.policy)), fold=True) if view.policy else None,
        _part("Notes", [tag("p", note) for note in view.notes]),
    ]
    return [part for part in parts if part is not None]


def _who(view: ReportView) -> list[tuple[str, Content]]:
    return [(times.date(at), what) for at, what in view.asked]


def _part(title: str, *content: Content, fold: bool = False) -> Markup | None:
    inner = text(*content)
    if not inner:
        return None
    if fold:
        return tag("section", tag("details", tag("summary", tag("h2", title)), inner))
    return tag("section", tag("h2", title), inner)


def _foot(view: ReportView) -> Markup:
    return tag(
        "footer",
        f"Written by deploy on {moment(view.made_at)}. Times are {zone(view.made_at)}. This page loads nothing.",
    )
