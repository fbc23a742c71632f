"""The contract of the live release: what only former releases needed is taken out of the database."""

from __future__ import annotations

from pathlib import Path

from deployer.app.due import kept_now
from deployer.app.observe import live_release, observe
from deployer.app.operations.approvals import refuse_unanswerable
from deployer.app.operations.context import AppContext
from deployer.app.operations.control import make_way, refuse_open
from deployer.app.operations.execution import ADJUSTING, begun, locked
from deployer.core.errors import Refused
from deployer.engine import RolloutResult, drive
from deployer.planning.contract import contract_plan
from deployer.planning.orders import CONTRACT
from deployer.store import person_of, whoami


def contract(house: AppContext, service: str, *, drop: bool = False, reason: str = "") -> RolloutResult:
    """Run the contract of the live release once no former one is there; `drop` removes what is kept warm at once.

    From its first command on no release before it can come back. Raise Refused while a former release is there.
    """
    live_release(house.store, service)
    make_way(house, service, "a migration is ended")
    with locked(house, service, f"{ADJUSTING} the database") as lock:
        refuse_open(house, service)
        release, record = live_release(house.store, service), house.store.services.get(service)
        past = house.store.rollouts.of_release(service, release.number, CONTRACT)
        if any((r.strategy, r.outcome) == (CONTRACT, "done") for r in past):
            text = f"the contract of {release.name} is done already: nothing to do"
            house.tell(service, text)
            return RolloutResult.at_once(text)
        brought = (r.folder for r in past if not r.adjusts)
        drivers = house.drivers(release, folder := next(brought, Path.cwd()))
        lost = drivers.traffic.lost(service)
        if lost:
            raise Refused(
                f"the proxy of {lost[0].name} is lost: it may send users to a former release",
                "`deploy doctor --fix` brings it up to date once it responds; or take it out of the inventory",
            )
        observed = observe(house.store, drivers, service)
        plan = contract_plan(observed, release, kept_now(record, lost), house.clock.now(), drop=drop)
        refuse_unanswerable(plan, person_of(whoami()))
        rollout = house.store.rollouts.begin(lock, plan, folder, whoami(), reason)
        return drive(begun(house, lock, drivers, rollout))
