"""Is the candidate worse? Pure functions: counts in, verdict out, valid however often it is looked at."""

from deployer.judge.comparison import Comparison
from deployer.judge.guard import AbsoluteGuard
from deployer.judge.verdicts import Verdict, Verdicts

__all__ = ["AbsoluteGuard", "Comparison", "Verdict", "Verdicts"]
