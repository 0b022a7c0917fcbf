"""A fixture for pytest, which finds it when drawoff is installed."""

from __future__ import annotations

from typing import Iterator

import pytest

from ._service import Service, serve


@pytest.fixture
def drawoff_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A local Workflows service for one test; calls of drawoff without an endpoint go to it."""
    with serve() as service:
        for name, value in service.environ.items():
            monkeypatch.setenv(name, value)
        yield service
