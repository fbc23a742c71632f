"""What the API takes and gives besides the data of `views`: bodies, runs, and what a refusal looks like."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployer.core.errors import DeployError, Exit, Locked, Refused, StoreFailed
from deployer.core.limits import MOST_REPLICAS, REASON, SERVICE
from deployer.core.secret import hide
from deployer.manifest.units import LONGEST
from deployer.server.runs import Busy, Run
from deployer.views.progress import RunAnswer

MOST_OPTIONS = 50
MOST_NUMBER = 2**31 - 1  # of a release or a rollout
RETRY_SECONDS = 5


def _sentence(text: str) -> str:
    """Refuse a text that would steer a terminal, or that cannot be written down."""
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" for c in text):
        raise ValueError("there are characters in it that are no text")
    return text


Sentence = Annotated[str, Field(max_length=REASON), AfterValidator(_sentence)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RequestBody(_Body):
    """Why it is done; kept in the history and in the audit log."""

    reason: Sentence = ""
    rollout: Annotated[
        int | None,
        Field(ge=0, le=MOST_NUMBER, description="Only if this one is in progress (0: none is), else 409."),
    ] = None


class Forward(RequestBody):
    """A promotion; `force` also past what people have still to approve, which needs a reason and the role admin."""

    force: Annotated[bool, Field(description="Past what is not approved; needs a reason and the role admin.")] = False


class VoteBody(RequestBody):
    """An approval, or a refusal, which sends the rollout back and needs a reason."""

    refuse: Annotated[bool, Field(description="Send it back instead; needs a reason.")] = False


class Deploy(_Body):
    """A deploy, with what `deploy STRATEGY` takes; `options` are those of the strategy, as in the manifest."""

    strategy: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_-]{0,39})?$", description="Empty: the manifest's.")] = ""
    version: Annotated[str, Field(max_length=128), AfterValidator(_sentence)] = ""  # the manifest says what one is
    options: Annotated[dict[str, Any], Field(max_length=MOST_OPTIONS)] = {}
    dirty: Annotated[bool, Field(description="With `build`: also changes that are not committed there.")] = False
    fingerprint: Annotated[
        str,
        Field(
            pattern=r"^([0-9a-f]{64})?$",
            description="Only by this manifest: the SHA-256 of the SHA-256 of its file (and of its overlay).",
        ),
    ] = ""


class DeployStart(RequestBody, Deploy):
    """A deploy that is to be done."""

    replace: Annotated[bool, Field(description="Take a rollout in progress back first.")] = False
    override_freeze: Annotated[Sentence, Field(description="Why a freeze does not hold; needs the role admin.")] = ""


class Back(RequestBody):
    """A rollback: to the last good release, unless `to` names one."""

    to: Annotated[int, Field(ge=1, le=MOST_NUMBER)] | None = None
    again: Annotated[bool, Field(description="Roll back again even if a rollback happened in the last 10 minutes.")] = (
        False
    )
    force: Annotated[bool, Field(description="Even to a release that was rolled back or never got through.")] = False


class ScaleBody(RequestBody):
    """How many instances are wanted on each host, and how long; without `instances` as many as the manifest says."""

    instances: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] | None = None
    seconds: Annotated[float, Field(gt=0, le=LONGEST, description="Without it, until another word.")] | None = None


class ContractBody(RequestBody):
    """The contract of the live release is to be run."""

    drop: Annotated[bool, Field(description="Remove the former release now, while it is kept warm.")] = False


class JobBody(_Body):
    """A job that is to be run now, and why."""

    job: Annotated[str, Field(pattern=f"^{SERVICE}$", description="Name of a job of the live release.")]
    reason: Sentence = ""


class Firm(_Body):
    """Why it is done: what is done needs a reason."""

    reason: Annotated[Sentence, Field(min_length=1)]


class EvictBody(Firm):
    """Why a guest has to go, and for how long; without `seconds` until it is let in."""

    now: Annotated[bool, Field(description="Give its instances no time to end.")] = False
    seconds: Annotated[float, Field(gt=0, le=LONGEST)] | None = None


class SetRequestBody(_Body):
    """Why it is done with a set of services; kept in the history and in the audit log."""

    reason: Sentence = ""
    set: Annotated[
        int | None,
        Field(ge=0, le=MOST_NUMBER, description="Only if this release of the set is in progress (0: none), else 409."),
    ] = None


class SetDeploy(_Body):
    """A release of a set, with what `deploy release STRATEGY` takes."""

    strategy: Annotated[
        str, Field(pattern=r"^([a-z][a-z0-9_-]{0,39})?$", description="Empty: that of the release file.")
    ] = ""
    versions: Annotated[
        dict[Annotated[str, Field(pattern=f"^({SERVICE})?$")], Annotated[Sentence, Field(max_length=128)]],
        Field(max_length=MOST_OPTIONS, description='By service; "" is for all others.'),
    ] = {}
    options: Annotated[dict[str, Any], Field(max_length=MOST_OPTIONS)] = {}
    dirty: Annotated[bool, Field(description="With `build`: also changes that are not committed there.")] = False
    fingerprint: Annotated[
        str,
        Field(
            pattern=r"^([0-9a-f]{64})?$",
            description="Only by this release file and these manifests: the SHA-256 of their fingerprints in a row.",
        ),
    ] = ""


class SetStart(SetRequestBody, SetDeploy):
    """A release of a set that is to be done."""

    replace: Annotated[
        bool, Field(description="First roll back each rollout of these services that is in progress.")
    ] = False
    override_freeze: Annotated[Sentence, Field(description="Why a freeze does not hold; needs the role admin.")] = ""


class SetBack(SetRequestBody):
    """A rollback of a set to what its services had before."""

    again: Annotated[bool, Field(description="Roll back again even if the set was rolled back minutes ago.")] = False


class ProblemAnswer(BaseModel):
    """Why not: what and where, what to do next, and the exit code that the command would have."""

    message: str
    hint: str = ""
    exit: int = int(Exit.REFUSED)


class HealthAnswer(BaseModel):
    """That the server answers and can read its store."""

    status: str = "ok"


class HookAnswer(BaseModel):
    """That a webhook was believed: the branch is being looked at."""

    looks: str


def run_answer(run: Run) -> RunAnswer:
    """Return what clients may know of a run."""
    return RunAnswer(
        id=run.id,
        service=run.order.service,
        action=run.order.action,
        by=run.by,
        began_at=run.began_at,
        ended=not run.open,
        ended_at=run.ended_at,
        rollout=run.rollout,
        exit=run.exit,
        outcome=run.outcome,
        text=run.text,
        hint=run.hint,
        plan=run.plan,
        set_name=run.order.set_name,
    )


class ApiError(Exception):
    """An answer that is no success: status, problem, headers."""

    def __init__(self, status: int, problem: ProblemAnswer, **headers: str) -> None:
        super().__init__(problem.message)
        self.status, self.problem = status, problem
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def missing(message: str, hint: str = "") -> ApiError:
    """Make the answer to a question about something that there is not, or that is not this client's."""
    return ApiError(404, ProblemAnswer(message=message, hint=hint))


def answer_of(error: DeployError) -> ApiError:
    """Make an answer of an error of the house."""
    status, headers = 500, {}
    if isinstance(error, StoreFailed):
        status = 503
    elif isinstance(error, Busy):
        status, headers = 429, {"Retry_After": str(RETRY_SECONDS)}
    elif isinstance(error, Refused):
        status = 422
    elif isinstance(error, Locked):
        status = 409
    problem = ProblemAnswer(message=hide(error.message), hint=hide(error.hint), exit=int(error.exit))
    return ApiError(status, problem, **headers)
