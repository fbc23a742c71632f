"""Adding up what a stream of requests tells."""

from __future__ import annotations

from deployer.drivers.ports import Samples
from deployer.model import Counts


class Seen:
    """What a stream told so far; `requests` looks for more."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.latency = self.candidate_latency = Counts()
        self.stable = self.candidate = self.stable_errors = self.candidate_errors = self.lost = self.share = 0
        self.shielded = self.rest = 0

    @property
    def errors(self) -> int:
        return self.stable_errors + self.candidate_errors

    def requests(self) -> int:
        sample = self._samples.take()
        self.stable += sample.stable.requests
        self.candidate += sample.candidate.requests
        self.stable_errors += sample.stable.errors
        self.candidate_errors += sample.candidate.errors
        self.latency += sample.stable
        self.candidate_latency += sample.candidate
        self.lost += sample.lost
        self.shielded += sample.shielded
        self.rest += sample.rest.requests
        self.share = sample.share
        return self.stable + self.candidate
