"""The API keeps to its OpenAPI document, whatever it is sent: no 5xx, no answer that is not described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests import tiers
from tests.api import Api
from tests.conftest import state_folder
from tests.unit.conftest import MEMORY

EXAMPLES = tiers.draws(8, 3)  # of each route
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """Yield an API with a canary that is held. Its streams end when they have told what there is."""
    with state_folder(MEMORY if MEMORY.is_dir() else Path("/tmp")) as folder:
        made = Api(folder)
        made.scene.deploy("1.0")
        made.scene.deploy("2.0", "canary", options={"percent": 10, "hold": True})
        made.desk.hub.close()
        yield made
        made.close()


@pytest.fixture(scope="module")
def admin(api: Api) -> dict[str, str]:
    return api.token("admin")


@pytest.mark.long("some hundred drawn requests", every_change=True)
def test_every_answer_is_described(api: Api, admin: dict[str, str]) -> None:
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", api.app(), headers=admin)
    statuses: Counter[int] = Counter()
    found = list(document.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        def answered(case: schemathesis.Case[Any]) -> None:
            aim(case)
            response = case.call(headers=admin)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        answered()
    assert len(operations) == 47
    assert {200, 404, 422} <= set(statuses), statuses
    assert sum(statuses.values()) >= len(operations) * 2


def aim(case: schemathesis.Case[Any]) -> None:
    """Let half of the questions be about what there is: hardly one would find it by chance."""
    parameters = case.path_parameters
    if "service" in parameters and len(str(parameters["service"])) % 2:
        parameters["service"] = "shop"
    if "number" in parameters and str(parameters["number"]).isdigit():
        parameters["number"] = 1 + int(parameters["number"]) % 3
