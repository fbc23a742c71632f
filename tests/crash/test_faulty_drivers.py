"""Drivers that fail, hang until their deadline, lie, deny what they did, answer late: each call of each scenario.

The promises hold at every instant meanwhile, each step ends by its deadline, and once the drivers are well again both
`resume` and `abort` come to a right end.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.calls import KINDS
from tests.crash.explore import Found
from tests.crash.scenarios import SCENARIOS
from tests.crash.trials import Trials
from tests.crash.work import TRIED

DISTURBED = [("disturbed", scenario.name) for scenario in SCENARIOS]
SHOWN = 12


@pytest.mark.parametrize("piece", DISTURBED, ids=lambda piece: piece[1])
def test_whatever_drivers_do_the_promises_hold(piece: tuple[str, str], found: Callable[[str, str], Found]) -> None:
    seen = found(*piece)
    assert not seen.wrong, "\n".join([f"{len(seen.wrong)} of {seen.tried}:", *seen.wrong[:SHOWN]])
    assert TRIED.faults is not None
    assert seen.tried >= 0.8 * TRIED.faults


@pytest.mark.usefixtures("paper")
def test_every_kind_of_fault_is_among_them() -> None:
    scenario = next(s for s in SCENARIOS if s.name == "canary: done, playbooks and hooks")
    faults = list(Trials(scenario).faults())
    assert {fault.kind for fault in faults} == set(KINDS)
    methods = {fault.method.rpartition(".")[2] for fault in faults}
    assert methods >= {"set_traffic", "ensure", "play", "smoke", "prune", "spent"}
