"""The device of this process, which `python tests/fake_cuda` loads before torch. Elsewhere these tests are skipped."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def device():
    """The simulated CUDA device, counting from here on."""
    main = sys.modules["__main__"]
    found = vars(main).get("found")
    if type(found).__name__ != "Device":
        pytest.skip("on the simulated device: python tests/fake_cuda")
    found.limit = sys.modules["device"].MEMORY
    found.reset()
    return found
