from __future__ import annotations

import pytest
from stage import Stage


@pytest.fixture
def stage(redis_url, namespace, tmp_path):
    """Workers and a client in a namespace of their own; what fails shows the end of the workers' logs."""
    stage = Stage(broker=redis_url, state=redis_url, namespace=namespace, folder=tmp_path)
    yield stage
    stage.close()
    print(stage.logs()[-6000:])
