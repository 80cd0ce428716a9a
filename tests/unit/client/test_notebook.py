import sys
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.client.notebook import ProgressCell, meter
from qallow_agent.client.progress import ProgressLine


class Publisher:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, bool]] = []
        self.ids: set[str] = set()

    def publish(self, data: Any, *, transient: Any, update: bool) -> None:
        self.ids.add(transient["display_id"])
        self.said.append((data["text/plain"], data["text/html"], update))


def test_one_output_is_updated_to_the_end() -> None:
    publisher = Publisher()
    cell = ProgressCell("harmonic<b>", 1_000, publisher)
    cell.show(10, 1, 2)
    cell.show(11)
    cell.show(500)
    cell.end()
    cell.end()
    assert [update for _, _, update in publisher.said] == [False, True]
    assert len(publisher.ids) == 1
    first, last = publisher.said
    assert "10/1,000" in first[0]
    assert "failed 1  re-run 2" in first[0]
    assert "500/1,000" in last[0]
    assert '<progress value="500" max="1000">' in last[1]
    assert "harmonic&lt;b&gt;" in last[1]


def test_a_sweep_that_was_over_at_once_shows_nothing() -> None:
    publisher = Publisher()
    ProgressCell("harmonic", 1, publisher).end()
    assert publisher.said == []


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_outside_of_a_notebook_it_is_a_line(monkeypatch: pytest.MonkeyPatch, shell: Any) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    assert isinstance(meter("k", 3), ProgressLine)
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(meter("k", 3), ProgressLine)
