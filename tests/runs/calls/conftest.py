"""A recording tool for the tests of tool calls."""

from collections.abc import Sequence

import pytest

from tertulia.tools.protocol import Risk, Tool
from tests.fakes.tools import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def tools(recorder: Recorder) -> Sequence[Tool]:
    return [recorder, Recorder("other", risk=Risk.LOW)]
