"""What the margins cover is no reason to go back, and hides nothing; a service in trouble gets no further."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from deployer.judge import Verdict, Verdicts
from deployer.judge.excess import Excess
from deployer.judge.margin import Margin
from deployer.judge.totals import Totals
from deployer.model import FULL, Coins, Counts, Sample, latency_bucket
from tests.looks import errors_only, judge, sample


def timed(stable_ms: float, candidate_ms: float, failed: int = 0) -> Sample:
    """Fifty answers at a share of 10%, all of a side equally quick; the candidate fails some of its five."""
    stable = Counts(45, 0, (0,) * latency_bucket(stable_ms) + (45,))
    candidate = Counts(5, failed, (0,) * latency_bucket(candidate_ms) + (5 - failed,))
    return Sample(stable, candidate, 1000, coins=(Coins(0.1, stable, candidate),))


def fed(verdicts: Verdicts, samples: Iterable[Sample], since: float = 0.0) -> list[Verdict]:
    return [verdicts.observe(drawn, since + n / 4) for n, drawn in enumerate(samples)]


# -- what the margin covers


def test_times_within_their_margin_are_not_called_worse_and_hide_no_errors() -> None:
    """Twice as slow where three times is allowed: evidence of a difference without end, and none of a breach."""
    verdicts = Verdicts(judge(latency={"margin": 3}), sticky=False)
    slower = fed(verdicts, [timed(40, 80)] * 1200)
    assert slower[-1].values["parts"]["latency"]["evidence"] == 1e15
    assert "worse" not in {verdict.kind for verdict in slower}

    broken = fed(verdicts, [timed(40, 80, failed=5)] * 3, since=300)

    assert broken[-1].kind == "worse"
    assert "% errors" in broken[-1].text


def test_errors_within_their_margin_hide_no_times() -> None:
    verdicts = Verdicts(judge(errors={"add": "30%"}), sticky=False)
    failing = fed(verdicts, [timed(40, 40, failed=1)] * 400)
    assert failing[-1].values["parts"]["errors"]["evidence"] > 1e6
    assert "worse" not in {verdict.kind for verdict in failing}

    slow = fed(verdicts, [timed(40, 400, failed=1)] * 40, since=100)

    assert slow[-1].kind == "worse"
    assert "slower" in slow[-1].text


@pytest.mark.parametrize("sticky", [True, False])
def test_a_share_before_at_which_everybody_failed_more_excuses_nothing(sticky: bool) -> None:
    """Stable's errors fall from 20% to nearly none while the share grows; then the candidate alone fails 4%."""
    verdicts = Verdicts(errors_only(errors={"max": "50%"}), sticky=sticky)
    verdicts.begin(1000, 5000)
    fed(verdicts, [sample((450, 90), (50, 10), share=1000, sticky=sticky)] * 400)
    verdicts.begin(5000, FULL)

    worse = fed(verdicts, [sample((25, 0), (25, 1), share=5000, sticky=sticky)] * 200, since=100)

    assert worse[-1].kind == "worse"
    assert worse[-1].text.endswith(" at 50%; 1.5x or +0.1% is allowed")


def test_the_times_of_a_share_before_excuse_nothing() -> None:
    verdicts = Verdicts(judge(), sticky=False)
    verdicts.begin(1000, 5000)
    fed(verdicts, [timed(300, 300)] * 800)
    verdicts.begin(1000, FULL)

    worse = fed(verdicts, [timed(50, 75)] * 2000, since=200)

    assert worse[-1].kind == "worse"
    assert "candidate p50 7" in worse[-1].text


def test_shares_are_compared_each_for_itself() -> None:
    """Everybody's errors grow tenfold with the share: over all, the candidate seems to fail twice as often."""
    before, now = Totals(Counts(9000, 9), Counts(1000, 1)), Totals(Counts(5000, 50), Counts(5000, 50))
    both = Totals(before.stable + now.stable, before.candidate + now.candidate)

    assert both.errors.beyond(Margin(1.5, 0.001), 1)
    assert not (before.errors + now.errors).beyond(Margin(1.01, 0), 0)


def test_a_client_of_stable_that_fails_again_and_again_hides_no_others() -> None:
    """One client's broken browser makes a twentieth of stable's answers errors; new clients of the candidate fail."""
    verdicts = Verdicts(errors_only(), sticky=True)
    verdicts.begin(1000, FULL)
    for n in range(400):
        thrown = Coins(0.1, Counts(20, 0), Counts(3, 1), (int(n == 0), 1))
        verdict = verdicts.observe(Sample(Counts(450, 30), Counts(50, 1), 1000, coins=(thrown,)), n / 4)
        if verdict.kind == "worse":
            break

    assert verdict.kind == "worse"
    assert verdict.text.startswith(f"{n + 1} clients of the candidate saw an error, 1 of stable")


def test_few_numbers_are_not_beyond() -> None:
    assert not Excess(2, 0, 0, 100).beyond(Margin(1.5, 0.01), 2)
    assert Excess(4, 0, 0, 100).beyond(Margin(1.5, 0.01), 2)
    # 3 where stable's part is 1 of 10: a ratio of three, but stable's 10 may as well be 15
    assert not Excess(3, 10, 1, 100).beyond(Margin(1.5, 0), 2)
    assert Excess(7, 10, 1, 100).beyond(Margin(1.5, 0), 2)


# -- trouble of the whole service


def test_while_the_whole_service_fails_nothing_grows_however_equal_the_sides_are() -> None:
    verdicts = Verdicts(errors_only(errors={"add": "5%"}), sticky=False)
    verdicts.begin(5000, FULL)
    well = fed(verdicts, [sample((50, 0), (50, 0), share=5000)] * 100)
    assert well[-1].kind == "no worse"

    ill = fed(verdicts, [sample((50, 20), (50, 20), share=5000)] * 100, since=25)
    assert (ill[-1].kind, ill[-1].enough) == ("inconclusive", False)
    assert ill[-1].text.startswith("40% of all responses (")
    assert ill[-1].text.endswith(") failed a moment ago, whichever side gave them: above 10% no share grows")

    again = fed(verdicts, [sample((50, 0), (50, 0), share=5000)] * 100, since=50)
    assert again[-1].kind == "no worse"
    assert not {verdict.kind for verdict in (*ill, *again)} & {"worse"}


def test_one_failure_at_night_is_no_trouble() -> None:
    verdicts = Verdicts(errors_only(), sticky=False)

    for n, failed in enumerate((0, 1, 0)):
        verdict = verdicts.observe(sample((5, failed), (0, 0)), 12 * n)
        assert "whichever side" not in verdict.text


def test_what_stands_beside_the_comparison_is_a_part_of_the_service() -> None:
    verdicts = Verdicts(errors_only(), sticky=False)
    well = sample((50, 0), (50, 0), share=5000)

    verdict = verdicts.observe(Sample(well.stable, well.candidate, 5000, coins=well.coins, rest=Counts(900, 500)), 0)

    assert verdict.text.startswith("50% of all responses (500 of 1,000) failed a moment ago")
