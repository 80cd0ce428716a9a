"""More data than memory: what waits is bounded at every place, so all of it comes through."""

import subprocess
import sys
from collections.abc import Mapping

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

TASKS = 200
ARRAY_BYTES = 8 << 20
ALLOWED_BYTES = 160 << 20
"""Beyond what a connected client has mapped; a tenth of what it sends."""

CLIENT = f"""
import resource, sys
import numpy as np
from pathlib import Path
from qallow_agent.client import arguments, freight
from qallow_agent.client.session import connect

if sys.argv[2] == "apart":
    freight.machine_mark = lambda key: b"another machine!"
    arguments._SEEN.again = lambda array: False  # or the same array would be sent once
data = np.ones({ARRAY_BYTES} // 4, "f4")
with connect(sys.argv[1]) as mesh:
    mesh.submit("total", data=data).result(60)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + {ALLOWED_BYTES},) * 2)
    futures = [mesh.submit("total", data=data) for _ in range({TASKS})]
    assert {{float(future.result(90).value) for future in futures}} == {{float(data.size)}}
print("all came through")
"""


@pytest.mark.parametrize("way", ["apart", "shared"])
def test_a_client_sends_ten_times_what_it_may_hold(
    lone: AgentProcess, environment: Mapping[str, str], way: str
) -> None:
    assert TASKS * ARRAY_BYTES >= 10 * ALLOWED_BYTES
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(lone.socket), way],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout == "all came through\n", done.stderr[-2_000:]
