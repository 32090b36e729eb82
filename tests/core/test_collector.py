"""The garbage collector is off in a block, and has its earlier state afterwards."""

from __future__ import annotations

import gc

import pytest

from ssmlab.core.collector import collector_paused


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_off_in_the_block_and_afterwards_as_before(before: bool) -> None:
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), collector_paused():
            assert not gc.isenabled()
            with collector_paused():
                pass
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == before
    finally:
        gc.enable()
