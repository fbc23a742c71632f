"""What one drive sees of both sides: the stream of requests, the judge of it, and the recording of what it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from deployer.core.clock import Clock
from deployer.core.events import Tell
from deployer.drivers.ports import Samples
from deployer.evidence.live_sample import Latest
from deployer.evidence.recording import Recorder
from deployer.judge.stable import StableHealth
from deployer.judge.verdicts import Verdict, Verdicts
from deployer.model import Sample
from deployer.planning.steps import Watch

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


@dataclass
class Analysis:
    """One stream and one judge for all watches of a drive, so that what one of them saw counts in the next.

    Whatever the judge is told is recorded first, with the same time: a replay comes to the same verdicts. Trouble with
    the recording is told once and never ends a rollout. `answered` and `shielded` count responses of the candidate.
    `confirm` raises LockLost once another process drives the rollout: it is asked before each write, as it takes its
    time to look, and a process may have been stopped meanwhile.
    """

    samples: Samples
    verdicts: Verdicts
    stable: StableHealth
    recorder: Recorder
    latest: Latest
    clock: Clock
    tell: Tell
    confirm: Callable[[], None]
    answered: int = 0
    shielded: int = 0
    _trouble_told: bool = field(default=False, init=False)
    _begun: bool = field(default=False, init=False)
    _shield_told: int = field(default=0, init=False)
    _broken_told: bool = field(default=False, init=False)
    _unseen_told: bool = field(default=False, init=False)

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        samples: Samples,
        files: tuple[Recorder, Latest],
        clock: Clock,
        tell: Tell,
        confirm: Callable[[], None],
    ) -> Self:
        """Return the analysis of one drive, with a judge of its own by the policy of the manifest."""
        verdicts = Verdicts(manifest.judge, sticky=manifest.traffic.counts_clients, routes=manifest.traffic.routes)
        return cls(samples, verdicts, StableHealth(manifest.judge), *files, clock, tell, confirm)

    def begin(self, step: Watch) -> None:
        """Begin a watch; what was answered since the last one is no part of it, but is not lost either."""
        if self._begun:
            self.look()
        self._begun = True
        self.confirm()
        self.recorder.watch(step.share, step.following, self.clock.monotonic(), step.seconds, early=step.early)
        self.verdicts.begin(step.share, step.following)

    def change(self, step: str) -> None:
        """Note that a step of ours begins that may change what stable does: a playbook."""
        self.catch_up()
        self.stable.begin(step)

    def catch_up(self) -> None:
        """Take what was answered until now; before the first watch it is of stable alone, and nothing to compare."""
        if self._begun:
            self.look()
        else:
            self._add(self.samples.take())

    def _add(self, sample: Sample) -> None:
        now = self.clock.monotonic()
        self.stable.add(sample.stable + sample.rest, now)
        if not self._trouble_told and (trouble := self.stable.trouble(now)):
            self._trouble_told = True
            self.tell("note", text=trouble)

    def look(self) -> tuple[Sample, Verdict]:
        """Take what was answered since the last look, and judge."""
        sample, at = self.samples.take(), self.clock.monotonic()
        self.confirm()
        self.recorder.sample(sample, at)
        self._add(sample)
        self._tell_broken()
        self.answered += sample.candidate.requests
        self.shielded += sample.shielded
        if not self._shield_told:
            self.tell_shield()
        return sample, self.verdicts.observe(sample, at)

    def stand_down(self) -> None:
        """Write nothing more: another process drives the rollout, and has files of its own under these names."""
        self.recorder.drop()
        self.latest.drop()

    def show(self, **sample: Any) -> None:
        """Report a sample, and keep it for those who watch from another process."""
        self.confirm()
        self.tell("sample", **sample)
        self.latest.keep(sample)
        if self.latest.broken is not None and not self._unseen_told:
            self._unseen_told = True
            self.tell("note", text=f"`deploy watch` has no live numbers of this rollout: {self.latest.broken}")

    def tell_shield(self) -> None:
        """Report how many responses of the candidate its users were spared, if that is news."""
        if self.shielded > self._shield_told:
            self._shield_told = self.shielded
            self.tell("shield.used", shielded=self.shielded, answered=self.answered)

    def _tell_broken(self) -> None:
        if self.recorder.broken is not None and not self._broken_told:
            self._broken_told = True
            self.tell("note", text=f"the recording of this rollout ends here: {self.recorder.broken}")
