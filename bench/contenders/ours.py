"""The judge of `deployer`, as a rollout uses it."""

from __future__ import annotations

from bench.traffic.world import Tick
from deployer.judge.verdicts import Verdict, Verdicts
from deployer.manifest.judge import Judge


class Ours:
    """One object for a rollout, with the defaults of the manifest unless others are given."""

    def __init__(self, *, sticky: bool, config: Judge | None = None) -> None:
        self._verdicts = Verdicts(config or Judge(), sticky=sticky)
        self._step = (0, 0)
        self.verdict: Verdict | None = None

    def observe(self, tick: Tick) -> bool:
        """Look at what was answered since the last tick; return whether the candidate must go."""
        step = (tick.sample.share, tick.following)
        if step != self._step:
            self._step = step
            self._verdicts.begin(*step)
        self.verdict = self._verdicts.observe(tick.sample, tick.at)
        return self.verdict.kind == "worse"
