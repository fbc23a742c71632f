"""A rollout, live: steps, share, both sides, verdict, what it may cost, what happens next, plots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deployer.core.events import Event
from deployer.planning.steps import percent
from deployer.server.page import environments
from deployer.server.page.dialogs import Dialog, buttons, dialogs
from deployer.server.page.frame import fold, part, until, words
from deployer.server.page.steps import steps
from deployer.views import text as write
from deployer.views.data import ApprovalView, RolloutView, StatusView
from deployer.views.jsonl import parse
from deployer.views.reduce import LOOKING, reduce, reduce_all
from deployer.views.report import plots, sections, times
from deployer.views.report.data import ReportView
from deployer.views.report.headline import KINDS, headline, tiles
from deployer.views.report.markup import Content, Markup, tag, text
from deployer.views.state import SideState, StepLine, ViewState


@dataclass(frozen=True)
class RolloutSnapshot:
    """What is known of a rollout at a moment: its report, the state of its live view, and what is live meanwhile."""

    report: ReportView
    state: ViewState
    status: StatusView
    now: float

    @property
    def open(self) -> bool:
        """Return whether it still waits for its end."""
        return self.status.rollout is not None and self.status.rollout.number == self.report.rollout.number


def state_of(view: RolloutView, sample: Event | None) -> ViewState:
    """Build the state of the live view; a sample that is older than the watch says nothing about it."""
    state = reduce_all(map(parse, view.events))
    running = state.running
    fresh = sample is not None and running is not None and running.kind in LOOKING and sample.at >= running.began
    return reduce(state, sample) if sample is not None and fresh else state


def main(told: RolloutSnapshot, asked: tuple[Dialog, ...]) -> list[Content]:
    """Write the page."""
    view = told.report
    return [
        _top(told),
        buttons(asked) if told.open else None,
        _now(told) if told.open else None,
        _why(told),
        environments.problems(told.status) if told.open else None,
        None if told.open else _tiles(view),
        _sides(told.state) if told.open else None,
        *_plots(view),
        part("Steps", steps(told.state, told.now) if told.open else sections.steps(view), id_="steps"),
        part("Instances", environments.instances(told.status, told.now), id_="instances") if told.open else None,
        _watches(view),
        fold("Timeline", sections.timeline(view), id_="timeline"),
        fold("Who, when, what", sections.facts([*_asked(view), *view.about]), id_="about"),
        dialogs(f"/services/{view.service}", asked) if told.open else None,
    ]


def title(told: RolloutSnapshot) -> str:
    """Return where users are while the rollout is in progress, and what became of it afterwards."""
    view, status = told.report, told.status
    if not told.open or view.rollout.outcome or not status.read:
        return headline(view)
    name = write.release(view.rollout.release, view.rollout.version)
    if told.state.turned:
        return f"{name} is being rolled back"
    if status.stable == view.rollout.release:
        return f"{name} is live, the rollout is finishing"
    return write.users_on("", name, status.share) if status.share else f"no users on {name} yet"


def _top(told: RolloutSnapshot) -> Markup:
    view, row = told.report, told.report.rollout
    origin = write.release(row.origin, view.origin_version) if row.origin else "first deploy"
    way = write.release(row.release, row.version)
    way = f"{row.strategy} · {way if row.origin == row.release else f'{origin} → {way}'} · by {row.by}"
    chip = tag("span", row.outcome or "in progress", class_=f"chip {KINDS.get(row.outcome, '')}")
    service = tag("a", view.service, href=f"/services/{view.service}")
    report = tag("a", "report", href=f"/api/v1/rollouts/{row.number}/report")
    line = tag("p", chip, tag("b", service), f" rollout {row.number} · {way} · ", report, class_="over")
    message = tag("p", f"“{row.message}”", class_="message") if row.message else None
    return tag("div", line, tag("h1", title(told)), message, id="top")


def _now(told: RolloutSnapshot) -> Markup:
    state, facts = told.state, environments.facts(told.status, told.now)
    rows: list[tuple[str, Content]] = [("share", _share(told))]
    rows += [("approval", _approval(told.status.approval, told.now))] if told.status.approval else []
    rows += [("verdict", said)] if (said := _verdict(told)) else []
    rows += [(f"metric {name}", f"{says.verdict}: {says.text}") for name, says in state.metrics]
    if state.proof and state.ending is None:  # how much more it takes is in the sentence of a verdict
        proof = state.proof
        rows.append(("proof", write.shown(proof.shown, None if said else proof.more, proof.unit)))
    rows += facts
    rows += [("note", note) for note in state.notes[-1:]]
    rows.append(("next", _next(told)))
    return part("Now", sections.facts(rows), id_="now")


def _approval(waits: ApprovalView, now: float) -> list[Content]:
    """Return for whom it waits, until when, and who has approved."""
    chip = tag("span", "waits", class_="chip open")
    given = f"; given by {', '.join(waits.given)}" if waits.given else ""
    after = {"revert": "then it is rolled back", "hold": "then it is paused"}[waits.expired]
    whose = f"for the approval of {waits.whose}, {len(waits.given)} of {waits.count}{given} · "
    return [chip, whose, until(waits.until, now), f" left, {after}"]


def _verdict(told: RolloutSnapshot) -> list[Content]:
    """Return the last word of the judge: that of the newest look, whose numbers are shown, or of the step before."""
    watch = next((w for w in reversed(told.report.watches) if w.text), None)
    if (said := told.state.so_far) is not None:
        word, text, share = said.verdict, said.text, told.state.share or 0
    elif watch is not None:
        word, text, share = write.verdict(watch.verdict, watch.enough), watch.text, watch.share
    else:
        return []
    yet = " so far" if word == "inconclusive" else ""
    chip = tag("span", f"{word}{yet}", class_=f"chip {sections.KINDS.get(word, '')}")
    return [chip, f"at {percent(share)}: {text}"]


def _share(told: RolloutSnapshot) -> list[Content]:
    state, asked = told.state, told.status.share
    if state.promoted:
        return [f"all users are on {write.release(state.release, state.version)}"]
    given = state.share or 0
    ended = "" if asked == given else f", {percent(asked)} in force"
    measured = "" if state.measured is None else f" · {write.actual(state.measured)}"
    bar = tag("progress", value=str(asked), max="10000", aria_label="share of the candidate")
    return [bar, f" {percent(given)} target{ended}{measured}"]


def _next(told: RolloutSnapshot) -> list[Content]:
    """Return what happens next and when, or that a person must decide."""
    state = told.state
    if told.status.rollout is not None and told.status.rollout.outcome:
        return ["a person decides: ", *words(told.status.next)]
    if told.status.lock is None:
        return ["its process is gone: resume, promote or abort it"]
    running, waiting = state.running, state.waiting
    following = waiting.text if waiting else "it has gone back" if state.turned else "it is done"
    return [*words(following), *_when(running, told.now)]


def _when(running: StepLine | None, now: float) -> Iterator[Content]:
    if running is None or not running.until:
        return
    waits = running.kind == "watch" and bool(running.progress)
    at = running.limit if running.as_needed or waits else running.until
    if at > now:
        yield " · once it is shown, within " if running.as_needed else " · in at most "
        yield until(at, now)


def _why(told: RolloutSnapshot) -> Markup | None:
    view, failure = told.report, told.state.failure
    if not view.cause and not view.trips:
        return None
    log = view.log or (failure.log if failure else ())
    return tag(
        "section",
        tag("h2", "Why"),
        tag("p", words(view.cause)),
        tag("p", tag("b", "→ "), words(view.remedy)) if view.remedy and view.rollout.exit else None,
        [tag("p", tag("b", kind), " ", words, class_="trip") for kind, words in view.trips],
        tag("pre", "\n".join(log), tabindex="0", aria_label="last lines of the instance") if log else None,
        class_=f"why {KINDS.get(view.rollout.outcome, '')}",
        id="why",
    )


def _tiles(view: ReportView) -> Markup:
    found = [
        tag("li", tag("b", t.value), tag("span", t.name), tag("small", t.note) if t.note else None, class_=t.kind)
        for t in tiles(view)
    ]
    return tag("ul", found, class_="tiles", id="tiles")


def _sides(state: ViewState) -> Markup | None:
    if not state.looks:
        return None
    look = state.looks[-1]
    rows = [_side("candidate", look.candidate), _side("stable", look.stable)]
    made = sections.table(("side", "responses", "failed", "rate", "p50", "p99"), rows, numeric=range(1, 6))
    lost = tag("p", f"{write.plural(state.lost, 'request')} not seen", class_="soft") if state.lost else None
    return part("Responses in this analysis step", made, lost, id_="sides")


def _side(name: str, side: SideState) -> list[Content]:
    numbers = [write.count(side.requests), write.count(side.errors), write.part(side.errors, side.requests)]
    label = text(tag("i", class_=f"swatch {name}"), name)
    return [label, *numbers, write.latency(side.p50), write.latency(side.p99)]


def _plots(view: ReportView) -> Iterator[Content]:
    if not view.points:
        return
    yield part("What users got", [figure.render() for figure in plots.traffic(view)], id_="traffic")
    thirds = [figure.render() for figure in plots.answer_times(view)]
    if thirds:
        yield part("Latency", tag("div", thirds, class_="thirds"), id_="times")


def _watches(view: ReportView) -> Markup | None:
    told = sections.watches(view)
    return part("Watch by watch", told, sections.verdicts(view), id_="watches") if told else None


def _asked(view: ReportView) -> list[tuple[str, Content]]:
    return [(times.date(at), what) for at, what in view.asked]
