import threading

import numpy as np
import pytest

from qallow_agent.kernels.scratch import LINE_BYTES, scratch, workspace


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
@pytest.mark.parametrize("size", [1, 15, 16, 1000])
def test_working_memory_begins_where_a_cache_line_does(size: int, dtype: str) -> None:
    room = scratch(size, dtype)
    assert room.shape == (size,)
    assert room.dtype == np.dtype(dtype)
    assert room.ctypes.data % LINE_BYTES == 0
    assert not room.any()


def test_a_thread_keeps_its_workspace_and_shares_it_with_none() -> None:
    mine, others = workspace(100), []
    thread = threading.Thread(target=lambda: others.append(workspace(100)))
    thread.start()
    thread.join(10)
    assert np.shares_memory(mine, workspace(50))
    assert not np.shares_memory(mine, others[0])
    assert workspace(10_000_000 // 8).size == 10_000_000 // 8
