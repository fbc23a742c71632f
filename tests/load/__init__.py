"""A steady load of mixed kinds on a service, in a process of its own, that accounts for every request.

    with Load("http://127.0.0.1:8080", Options(host="shop.example.com")) as load:
        load.until(lambda now: now.answered > 200, "the load has started")
        load.mark("canary")
        ...
        report = load.stop()
    assert report.failed == 0, report.text()

Only the standard library is needed, so that it also runs where no test tools are installed.
"""

from tests.load.ledger import Counters
from tests.load.options import KINDS, PLANNED, Options
from tests.load.process import Load, LoadBroken
from tests.load.report import Latency, Report
from tests.load.request import Request

__all__ = ["KINDS", "PLANNED", "Counters", "Latency", "Load", "LoadBroken", "Options", "Report", "Request"]
