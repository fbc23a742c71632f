"""Times of jobs as schedulers of containers write them. Whole files with their labels: compose_projects/jobs.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.core import cron
from deployer.manifest.compose import migrate
from deployer.manifest.compose.times import JobTimes, of_fields, of_go, of_interval

Read = Callable[[str], JobTimes]


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (of_go, "0 1 * * *", "0 1 * * *"),
        (of_go, "0 0 1 * * ?", "0 1 * * *"),
        (of_go, "0 */5 8-18 * * MON-FRI", "*/5 8-18 * * MON-FRI"),
        (of_go, "@hourly", "@hourly"),
        (of_go, "@midnight", "@daily"),
        (of_go, "@annually", "@yearly"),
        (of_go, "@every 1m", "* * * * *"),
        (of_go, "@every 1m30s", None),
        (of_go, "@every 20m", "*/20 * * * *"),
        (of_go, "@every 7m", None),
        (of_go, "@every 1h0m0s", "0 * * * *"),
        (of_go, "@every 12h", "0 */12 * * *"),
        (of_go, "@every 24h", "@daily"),
        (of_go, "@every 168h", "@weekly"),
        (of_go, "@every 10s", None),
        (of_go, "@every soon", None),
        (of_go, "*/10 * * * * *", None),
        (of_go, "@reboot", None),
        (of_go, "61 1 * * *", None),
        (of_go, "", None),
        (of_fields, "*/3 0 0", "0 */3 * * *"),
        (of_fields, "6 1 0 0", "0 1 * * 7"),
        (of_fields, "0-4 1 30 0", "30 1 * * 1-5"),
        (of_fields, "sun 1 0 0", "0 1 * * SUN"),
        (of_fields, "* 1 1 * * 0 0 0", "0 0 1 1 *"),
        (of_fields, "last * * 0 0 0", "0 0 L * *"),
        (of_fields, "1 * mon 0 0 0", None),
        (of_fields, "2031 * * * * 0 0 0", None),
        (of_fields, "0 *", None),
        (of_fields, "1 2 3 4 5 6 7 8 9", None),
        (of_interval, "daily", "@daily"),
        (of_interval, "every minute", "* * * * *"),
        (of_interval, "every second", None),
        (of_interval, "6:00:00", "0 */6 * * *"),
        (of_interval, "1/00:00:00", "@daily"),
        (of_interval, "42:00:00", None),
        (of_interval, "often", None),
    ],
)
def test_times_become_a_cron_expression_or_are_refused(read: Read, text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"\w"):
            read(text)
        return
    assert read(text).cron == expected
    assert cron.mistake(expected) == ""


def test_the_timezone_before_an_expression_is_kept() -> None:
    assert of_go("CRON_TZ=Asia/Tokyo 0 6 * * ?") == JobTimes("0 6 * * *", "Asia/Tokyo")
    assert of_go("30 0 6 * * *").changed == "second 30 is left out: a job begins at a full minute"


def test_a_job_of_what_stays_with_compose_is_listed_wherever_its_labels_are(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(
        "services:\n  web:\n    image: shop:1\n    ports: ['8080:80']\n    labels:\n"
        "      ofelia.job-run.dump.image: postgres:16\n      ofelia.job-run.dump.schedule: '@daily'\n"
        "      ofelia.job-run.dump.command: pg_dump\n  db:\n    image: postgres:16\n    labels:\n"
        "      ofelia.job-exec.vacuum.schedule: '@daily'\n      ofelia.job-exec.vacuum.command: vacuumdb -a\n"
    )
    made = migrate(file, {})
    assert [(note.where, note.message) for note in made.notes] == [
        ("compose.yaml:6", "it runs in db, which stays with Compose"),
        ("compose.yaml:12", "it runs in db, which stays with Compose"),
    ]
    assert "schedule" not in made.taken[0].text
