from random import Random

from qallow_agent.testing.network import RESEND_S, Network, Side, Stream, Weather
from qallow_agent.testing.timeline import Process, Timeline

PATIENCE_S = 5.0


class Wire:
    """Two processes on two hosts with a stream between them."""

    def __init__(self, **weather: float) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Random(1), Weather(**weather))
        self.near, self.far = Process(self.timeline), Process(self.timeline)
        self.heard: list[tuple[str, object]] = []
        self.broke: list[str] = []
        self.stream = self.connect()

    def connect(self) -> Stream:
        return self.network.connect(self._side("near"), self._side("far"), PATIENCE_S)

    def _side(self, name: str) -> Side:
        process = self.near if name == "near" else self.far
        return Side(
            name,
            process,
            lambda data: self.heard.append((name, data)),
            lambda: self.broke.append(name),
        )

    def cut(self) -> None:
        self.network.cut("near", "far")
        self.network.cut("far", "near")

    def run(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now + seconds)


def test_a_stream_keeps_its_order_in_any_weather() -> None:
    wire = Wire(loss=0.3, jitter_s=0.5)
    for number in range(100):
        assert wire.stream.send(0, number)
    wire.run(5.0)
    assert wire.heard == [("far", number) for number in range(100)]


def test_a_stream_waits_out_a_short_cut_and_loses_nothing() -> None:
    wire = Wire()
    wire.cut()
    wire.stream.send(0, "one")
    wire.run(2.0)
    assert wire.heard == []
    wire.network.heal()
    wire.stream.send(0, "two")
    wire.run(2 * RESEND_S + 0.1)
    assert wire.heard == [("far", "one"), ("far", "two")]
    assert wire.broke == []


def test_both_ends_of_a_stream_give_up_a_long_cut() -> None:
    wire = Wire()
    wire.cut()
    wire.run(PATIENCE_S + 0.1)
    assert sorted(wire.broke) == ["far", "near"]
    assert not wire.stream.send(0, "late")


def test_an_earlier_cut_that_healed_does_not_end_patience_with_a_later_one() -> None:
    wire = Wire()
    wire.cut()
    wire.run(PATIENCE_S - 1)
    wire.network.heal()
    wire.run(1.0 - 0.1)
    wire.cut()
    wire.run(0.5)
    assert wire.broke == []


def test_a_loud_cut_breaks_a_stream_at_once() -> None:
    wire = Wire()
    wire.network.cut("near", "far", loud=True)
    assert sorted(wire.broke) == ["far", "near"]


def test_a_death_is_heard_of_at_the_other_end_after_what_was_said() -> None:
    wire = Wire()
    wire.stream.send(0, "last words")
    wire.near.die()
    wire.run(1.0)
    assert wire.heard == [("far", "last words")]
    assert wire.broke == ["far"]


def test_what_reaches_a_frozen_process_waits_for_its_thaw() -> None:
    wire = Wire()
    wire.far.freeze()
    wire.stream.send(0, "hello")
    wire.run(10.0)
    assert wire.heard == []
    wire.far.thaw()
    assert wire.heard == [("far", "hello")]


def test_a_stalled_process_goes_on_where_it_was_before_it_takes_in_more() -> None:
    timeline = Timeline()
    process = Process(timeline)
    done: list[str] = []
    process.stall(1.0, lambda: done.append("rest"))
    process.run(lambda: done.append("arrival"))
    timeline.run(0.9)
    assert done == []
    process.freeze()
    timeline.run(2.0)
    process.thaw()
    assert done == ["rest", "arrival"]


def test_datagrams_are_lost_doubled_and_refused() -> None:
    wire = Wire(loss=0.5, duplicate=0.5)
    arrived: list[int] = []
    refused: list[int] = []
    wire.network.transports["far"] = object()  # type: ignore[assignment]
    for number in range(1000):
        wire.network.datagram(
            "near", "far", lambda n=number: arrived.append(n), lambda: refused.append(1)
        )
        wire.network.datagram("near", "nobody", lambda: arrived.append(-1), lambda: None)
    wire.run(1.0)
    assert 600 < len(arrived) < 900
    assert len(set(arrived)) < len(arrived)
    del wire.network.transports["far"]
    wire.network.weather.loss = 0.0
    wire.network.datagram("near", "far", lambda: arrived.append(-1), lambda: refused.append(1))
    wire.run(1.0)
    assert refused
    assert -1 not in arrived
