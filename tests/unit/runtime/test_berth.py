import os
from collections.abc import Iterator

import pytest

from qallow_agent.base.ids import LeaseId, RunnerId
from qallow_agent.jobs.local import Forbid, RunnerBusy, RunnerExited, RunnerReady, RunnerTally
from qallow_agent.runtime.berth import Berth, tell_end
from qallow_agent.runtime.orders import runner_codec
from qallow_agent.runtime.slate import Slate, canary_lease

CODEC = runner_codec()


@pytest.fixture
def berth() -> Iterator[Berth]:
    made = Berth(RunnerId("runner-1"), "cpu0", "cpu", CODEC, 10)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("status", "killed", "words"),
    [
        (0, "", "stopped"),
        (3, "", "exited with status 3"),
        (-11, "", "killed by SIGSEGV"),
        (-9, "it hung", "killed: it hung"),
        (-24, "", "killed by SIGXCPU: it used up its CPU seconds"),
        (-40, "", "killed by signal 40"),
        (70, "it hung", "exited with status 70"),
    ],
)
def test_an_end_is_told_in_words(status: int, killed: str, words: str) -> None:
    assert tell_end(status, killed) == words


def test_a_berth_hears_its_runner_until_it_hangs_up(berth: Berth) -> None:
    theirs = os.dup(berth.luggage()[0])
    berth.drop_luggage()
    tally = RunnerTally("echo", 1, 1, 1.0, 0.5)
    for message in (RunnerReady(1, b"k", 2), tally):
        os.write(theirs, CODEC.encode(message))
    assert berth.hear() == [RunnerReady(1, b"k", 2), tally]
    assert (berth.ready, berth.open) == (True, True)
    os.close(theirs)
    assert berth.hear() == []
    assert not berth.open


def test_messages_wait_for_a_runner_that_does_not_read_but_not_for_ever(berth: Berth) -> None:
    sent = 0
    while berth.tell(Forbid(LeaseId(f"lease-{sent}"))):
        sent += 1
        assert sent < 5000
    assert berth.waits
    first = os.read(berth.luggage()[0], 1000)
    assert CODEC.decode(first) == Forbid(LeaseId("lease-0"))


def test_what_a_runner_runs_is_read_from_its_slate(berth: Berth) -> None:
    slate = Slate(berth.luggage()[1])
    assert berth.busy(5.0) is None
    slate.lease(LeaseId("lease-a"))
    slate.begin(4, 2, 3.0)
    assert berth.busy(5.0) == RunnerBusy(LeaseId("lease-a"), 4, 2, 2.0)
    assert berth.busy(2.0) == RunnerBusy(LeaseId("lease-a"), 4, 2, 0.0)
    assert berth.obituary("gone") == RunnerExited(
        "gone while running task 4", LeaseId("lease-a"), 4, 2
    )
    slate.end()
    assert berth.obituary("gone") == RunnerExited("gone")
    slate.close()


def test_a_canary_is_no_task(berth: Berth) -> None:
    slate = Slate(berth.luggage()[1])
    slate.lease(canary_lease("echo"))
    slate.begin(0, 0, 3.0)
    assert berth.busy(5.0) is None
    assert berth.canary_s(5.0) == 2.0
    assert berth.obituary("gone") == RunnerExited("gone during the canary of echo")
    slate.close()
