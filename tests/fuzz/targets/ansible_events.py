"""What ansible-runner reports of tasks that say anything: kept small, and told in one line."""

from __future__ import annotations

import json

from deployer.drivers.hosts.reports import Course, slim

WEIGHT = 1


def check(data: bytes) -> None:
    try:
        events = [json.loads(line) for line in data.splitlines()]
    except (ValueError, RecursionError):
        return
    course = Course()
    for event in events:
        if isinstance(event, dict):
            kept = slim(event)
            for task in course.take(json.loads(json.dumps(kept))) if kept else ():
                assert "\n" not in task.message
                assert len(task.message) < 1000
    course.trouble().encode()
    assert len(course.lines) <= 40
