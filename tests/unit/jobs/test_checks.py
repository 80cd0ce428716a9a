"""The invariants are not decoration: each is seen to fail when its property is broken."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.desk import Desk
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.local import RunnerReady
from qallow_agent.jobs.messages import JobState, OpenSession
from qallow_agent.jobs.model import BenchDevice, DeviceHealth, KernelOffer
from qallow_agent.jobs.settings import DispatchSettings, JobSettings
from qallow_agent.jobs.workplace import Phase


@pytest.fixture
def dispatcher(tools: SimpleNamespace) -> Dispatcher:
    dispatcher = Dispatcher(DispatchSettings())
    dispatcher.granted(tools.lease("one"))
    dispatcher.add()
    dispatcher.orders(0.0)
    dispatcher.add()
    dispatcher.add_sweep(10)
    dispatcher.check()
    return dispatcher


def closed(dispatcher: Dispatcher) -> None:
    dispatcher._lines["one"].window = 9


def future(dispatcher: Dispatcher) -> None:
    (flight,) = dispatcher._lines["one"].flights.values()
    flight[0].attempt = 0


def miscounted(dispatcher: Dispatcher) -> None:
    (flight,) = dispatcher._lines["one"].flights.values()
    flight[0].flying = 2


def nowhere(dispatcher: Dispatcher) -> None:
    dispatcher._backlog.queue.clear()


def exhausted(dispatcher: Dispatcher) -> None:
    (sweep,) = dispatcher._backlog.sweeps.values()
    sweep.cut = sweep.points


@pytest.mark.parametrize("spoil", [closed, future, miscounted, nowhere, exhausted])
def test_a_spoilt_dispatcher_is_noticed(dispatcher: Dispatcher, spoil: Any) -> None:
    spoil(dispatcher)
    with pytest.raises(InvariantBroken):
        dispatcher.check()


@pytest.fixture
def desk(tools: SimpleNamespace) -> Desk:
    desk = Desk(me="home", settings=JobSettings(), rng=tools.rng, kept={})
    desk.receive("@control/1/1", OpenSession(tools.KEY, "0.1"), tools.at(0))
    desk.submit("@control/1/1", tools.order(), tools.terms, tools.at(0))
    desk.tick(tools.at(0))
    desk.check()
    return desk


def state(desk: Desk, to: JobState) -> None:
    (job,) = desk._roster.live.values()
    job.record = msgspec.structs.replace(job.record, state=to)


def forgotten(desk: Desk) -> None:
    for job in desk._roster.live:
        desk._roster._agenda.forget(job)


def misweighed(desk: Desk) -> None:
    desk._roster.archive._bytes += 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda desk: state(desk, JobState.FAILED),
        lambda desk: state(desk, JobState.RUNNING),
        forgotten,
        misweighed,
    ],
)
def test_a_spoilt_desk_is_noticed(desk: Desk, spoil: Any) -> None:
    spoil(desk)
    with pytest.raises(InvariantBroken):
        desk.check()


@pytest.fixture
def bench(tools: SimpleNamespace) -> Bench:
    bench = Bench(
        me="box", node_name="box", identity=tools.IDENTITY, hosts=("::1",),
        kernels=[KernelOffer("harmonic", tools.HASH, ("gpu",))], settings=JobSettings(),
        rng=tools.rng,
    )  # fmt: skip
    bench.set_devices([BenchDevice("cpu0", "cpu", 1, 0)], tools.at(0))
    (runner,) = bench._crew.places
    bench.receive(f"@runner/{runner}", RunnerReady(1, tools.KEY, 1), tools.at(0))
    bench.check()
    return bench


def test_a_device_without_kernels_has_nothing_to_prove(bench: Bench) -> None:
    assert bench.device_states()[0].canary == "no kernel to try"
    assert bench.device_states()[0].state == "ok"


def homeless(bench: Bench) -> None:
    bench._crew.places.clear()


def untenanted(bench: Bench) -> None:
    (station,) = bench._devices["cpu0"].stations.values()
    station.phase = Phase.LEASED


def unwell(bench: Bench) -> None:
    untenanted(bench)
    (station,) = bench._devices["cpu0"].stations.values()
    station.tenancy = object()  # type: ignore[assignment]
    bench._devices["cpu0"].state = DeviceHealth.LOST


def unminded(bench: Bench) -> None:
    bench._agenda.due(1e9)


@pytest.mark.parametrize("spoil", [homeless, untenanted, unwell, unminded])
def test_a_spoilt_bench_is_noticed(bench: Bench, spoil: Any) -> None:
    spoil(bench)
    with pytest.raises(InvariantBroken):
        bench.check()
