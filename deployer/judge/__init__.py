"""Is the candidate worse? Pure functions: counts in, verdict out, valid however often it is looked at."""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.judge.comparison import Comparison
    from deployer.judge.guard import AbsoluteGuard
    from deployer.judge.verdicts import Verdict, Verdicts

__all__ = ["AbsoluteGuard", "Comparison", "Verdict", "Verdicts"]

__getattr__ = later.names(
    __name__,
    {
        "Comparison": "deployer.judge.comparison",
        "AbsoluteGuard": "deployer.judge.guard",
        "Verdict": "deployer.judge.verdicts",
        "Verdicts": "deployer.judge.verdicts",
    },
)
