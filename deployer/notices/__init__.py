"""What people elsewhere are told of a rollout, and the way it takes: made from events, sent beside the rollout."""

from deployer.notices.account import Account
from deployer.notices.notice import ENDINGS, Kind, Notice, NotSent, Side, trial
from deployer.notices.outbox import END_SECONDS, PAUSES, SEND_SECONDS, Outbox

__all__ = [
    "ENDINGS",
    "END_SECONDS",
    "PAUSES",
    "SEND_SECONDS",
    "Account",
    "Kind",
    "NotSent",
    "Notice",
    "Outbox",
    "Side",
    "trial",
]
