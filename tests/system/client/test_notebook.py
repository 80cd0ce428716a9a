"""Progress in a real notebook kernel."""

from collections.abc import Iterator
from typing import Any

import pytest

from qallow_agent.testing.agents import AgentProcess

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(90),
    # Jupyter's own, and none of our business
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

CELL = """
import qallow_agent as qa
with qa.connect({socket!r}) as mesh:
    values = [int(r.value) for r in mesh.map("moody", {{"mood": range(10, 60)}}, seconds=0.02,
                                             progress=True)]
assert values == list(range(10, 60))
"""


@pytest.fixture
def kernel(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    running, client = manager.start_new_kernel(startup_timeout=60)
    yield client
    client.stop_channels()
    running.shutdown_kernel(now=True)


def test_one_output_of_the_cell_is_updated_until_the_sweep_is_over(
    kernel: Any, lone: AgentProcess
) -> None:
    seen: list[tuple[str, str, str]] = []

    def hear(message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in {"display_data", "update_display_data"}:
            shown = content["data"]
            assert "<progress" in shown["text/html"]
            seen.append((kind, content["transient"]["display_id"], shown["text/plain"]))
        assert kind != "error", content

    code = CELL.format(socket=str(lone.socket))
    reply = kernel.execute_interactive(code, timeout=60, output_hook=hear)
    assert reply["content"]["status"] == "ok"
    kinds = [kind for kind, _, _ in seen]
    assert kinds == ["display_data"] + ["update_display_data"] * (len(kinds) - 1)
    assert len(kinds) > 1
    assert len({display for _, display, _ in seen}) == 1
    assert "50/50  100%" in seen[-1][2]
