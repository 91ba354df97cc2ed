"""Settings of all tests: a loaded machine is no failure, and what shares kernels or fixtures runs in one process."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together under ``--dist loadgroup``, those of the contract by problem."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        problem = parameters.params.get("problem") if parameters and item.path.name == "test_contract.py" else None
        item.add_marker(pytest.mark.xdist_group(problem or str(item.path)))
