"""What people elsewhere are told of a rollout, and the way it takes: made from events, sent beside the rollout."""

from deployer.drivers.notices.account import Account, RolloutFacts, sentence
from deployer.drivers.notices.notice import ENDINGS, Kind, Notice, NoticeJob, NoticeSide, NotSent, trial
from deployer.drivers.notices.outbox import END_SECONDS, SEND_SECONDS, NoticePatience, Outbox

__all__ = [
    "ENDINGS",
    "END_SECONDS",
    "SEND_SECONDS",
    "Account",
    "Kind",
    "NotSent",
    "Notice",
    "NoticeJob",
    "NoticePatience",
    "NoticeSide",
    "Outbox",
    "RolloutFacts",
    "sentence",
    "trial",
]
