"""Drivers that fail, hang, lie, deny, are late: each call of a scenario in turn, once or from then on.

Whatever they do, the promises hold at every instant, every step ends by its deadline, the command ends with an outcome
that is recorded and told, and once the drivers are well again both `resume` and `abort` come to a right end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from deployer.app import doctor
from deployer.core.errors import DeployError
from deployer.core.events import Event
from tests.crash.calls import FAILS, HANGS, Call, Fault, kinds
from tests.crash.explore import MUCH, Explorer, Eye, Facts, Picture, Try, abort, look, resume
from tests.crash.promises import Broken
from tests.crash.scenarios import ADJUSTMENTS, Scenario
from tests.crash.stage import Moment, Process, Stage, restored

ALIKE = 2  # calls of one method in one step that are tried: the first ones


class Disturbed(Eye):
    """Lets a fault meet its call."""

    def __init__(self, stage: Stage, scenario: Scenario, fault: Fault) -> None:
        super().__init__(stage, scenario)
        self._fault, self._number = fault, 0

    def answer(self, call: Call, carry_out: Callable[[], Any]) -> Any:
        self._number += 1
        if self._fault.meets(call, self._number):
            return self._fault.commit(call, carry_out, self.stage.world.clock)
        return carry_out()


class Listing(Eye):
    """Lists the calls of a scenario with nothing wrong: number, call, and the step in which it came."""

    def __init__(self, stage: Stage, scenario: Scenario) -> None:
        super().__init__(stage, scenario)
        self.calls: list[tuple[int, Call, str]] = []
        self._step = ""

    def answer(self, call: Call, carry_out: Callable[[], Any]) -> Any:
        self.calls.append((len(self.calls) + 1, call, self._step))
        return carry_out()

    def told(self, process: Process, event: Event) -> None:
        if event.kind == "step.began":
            self._step = f"{event.data['phase']} {event.data['n']}"
        super().told(process, event)


@dataclass(frozen=True)
class Came:
    """What came of a command whose drivers were disturbed."""

    picture: Picture
    raised: DeployError | None
    after: Moment


class Trials(Explorer):
    """Disturbs the drivers of one scenario's command wherever that makes a difference."""

    def __init__(self, scenario: Scenario, much: int = MUCH) -> None:
        super().__init__(scenario, much)
        self._good = self._end_of_good()

    def _end_of_good(self) -> Picture:
        """See what comes of the scenario where nothing is wrong with the release: a lie may hide what is."""
        if not self.scenario.world:
            return self.wanted
        return Explorer(replace(self.scenario, world={}, ends="done")).wanted

    def faults(self) -> Iterator[Fault]:
        """Yield every fault that is another one: of a method in a step only the first calls."""
        with restored(self._start) as stage:
            eye = Listing(stage, self.scenario)
            with stage.process(eye) as process:
                self.scenario.command(process)
        seen: dict[tuple[str, str], int] = {}
        first: dict[str, int] = {}
        for number, call, step in eye.calls:
            key = (call.method, step)
            seen[key] = seen.get(key, 0) + 1
            first.setdefault(call.method, number)
            if seen[key] <= ALIKE:
                yield from (Fault(kind, number, str(call)) for kind in kinds(call))
        for method, number in first.items():
            yield from (Fault(kind, number, method, ever=True) for kind in (FAILS, HANGS))

    def disturb(self, fault: Fault) -> None:
        """Try one fault; what is wrong with what came of it goes to `found`."""
        self.found.tried += 1
        try:
            came = self._came_of(fault)
            wrong = self._wrong(came)
            if wrong and self.scenario.what in ADJUSTMENTS:
                wrong = self._left_for_good(came, wrong)
        except Broken as broken:
            wrong = f"broken: {broken}"
        if wrong:
            self.found.wrong.append(f"{self.scenario.name}: {fault}: {wrong}")
            return
        if came.picture.open:
            for attempt in self._mended(came):
                self._try(came.after, str(fault), attempt)

    def _came_of(self, fault: Fault) -> Came:
        with restored(self._start) as stage:
            eye = Disturbed(stage, self.scenario, fault)
            raised = None
            with stage.process(eye) as process:
                try:
                    self.scenario.command(process)
                except DeployError as error:
                    raised = error
                eye.promises.given_back()
                eye.promises.secrets(process)
            return Came(look(stage), raised, stage.moment(0, str(fault)))

    def _left_for_good(self, came: Came, wrong: str) -> str:
        """Let pass what an adjustment has left over whose way back failed, too, if `doctor --fix` clears it.

        It stays in nobody's way, and so is not open. Users had what they should at every instant.
        """
        with restored(came.after) as stage:
            with stage.process(Eye(stage, self.scenario)) as process:
                doctor.fix(process.house, None)
            then = look(stage)
        return "" if not then.left and then.running == then.servers else f"{wrong}; `doctor --fix` leaves {then}"

    def _wrong(self, came: Came) -> str:
        begun = Facts.of(came.after).rollout > self._begin.rollout
        if came.raised is not None and begun:
            return f"a rollout was begun, and the command raised {type(came.raised).__name__}: {came.raised.message}"
        if came.raised is not None or came.picture.open:
            return ""
        return self._wrong_with(came.picture, Try("disturbed", resume, self._ends(), mended=True))

    def _ends(self) -> tuple[Picture, ...]:
        return (self.wanted, self._resumed, self._good, self._not_begun, *self._back)

    def _mended(self, came: Came) -> Iterator[Try]:
        yield Try("mended and resumed", resume, self._ends(), mended=True)
        yield Try("mended and aborted", abort, self._ends(), mended=True)
