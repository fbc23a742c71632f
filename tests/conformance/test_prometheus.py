"""What Prometheus itself says of our metrics, of the queries of the dashboard and of the configuration in the page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployer.app.operations.execution import locked
from tests.api import Api
from tests.conftest import require
from tests.documents import REPOSITORY, blocks
from tests.unit.test_server_metrics import dashboard, hold, queries_of, text


@pytest.fixture
def api(state: Path) -> Iterator[Api]:
    require("prometheus")
    made = Api(state)
    yield made
    made.close()


def promtool(*words: str, given: str = "") -> None:
    """Have something checked; nothing may be found, no hint either."""
    told = subprocess.run(
        ["promtool", "check", *words], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    if given:
        assert told.stdout + told.stderr == ""


def test_names_types_and_units_are_as_prometheus_asks(api: Api) -> None:
    hold(api)
    api.desk.answered["GET", "/services", 200] = 1
    with locked(api.scene.house, "shop", "test"):
        promtool("metrics", given=text(api))


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    require("prometheus")
    filled = [
        query.replace("$service", ".*").replace("$__range", "6h").replace("$__rate_interval", "1m")
        for query in queries_of(dashboard())
    ]
    assert not [query for query in filled if "$" in query]
    rules = [{"record": f"panel_{n}", "expr": query} for n, query in enumerate(filled)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("rules", str(file))


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    require("prometheus")
    (block,) = (b.text for b in blocks(REPOSITORY / "docs/server.md") if b.language == "yml")
    (tmp_path / "deployer.token").write_text("deploy_0_0\n")
    assert "/etc/prometheus/deployer.token" in block
    file = tmp_path / "prometheus.yml"
    file.write_text(block.replace("/etc/prometheus", str(tmp_path)))
    promtool("config", str(file))
