"""The virtual network: who reaches whom, how fast and how badly; ordered streams and lost packets.

A cut is silent, as a pulled cable is, or loud, as a firewall is that rejects. A stream needs both
directions; what it carries waits for a silent cut to heal, as TCP's retransmissions do, until one
end loses patience.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from qallow_agent.base.ids import Address
from qallow_agent.base.units import Seconds
from qallow_agent.testing.timeline import Process, Timeline

if TYPE_CHECKING:
    from qallow_agent.testing.runners import VirtualRunner
    from qallow_agent.testing.transport import VirtualTransport

RESEND_S: Seconds = 0.2
"""The shortest retransmission timeout of Linux's TCP (TCP_RTO_MIN)."""


@dataclass(slots=True)
class Weather:
    """How the network treats packets; may change while it runs.

    Args:
        latency_s: Least time of flight.
        jitter_s: Most that is added at random, so that packets overtake each other.
        loss: Share of datagrams that vanish; of stream packets that come ``RESEND_S`` later.
        duplicate: Share of datagrams that come twice.
        reorder: Share of datagrams that are late by ``reorder_s``.
        reorder_s: How late.
    """

    latency_s: Seconds = 0.0003
    jitter_s: Seconds = 0.0004
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: Seconds = 0.02


class Network:
    """One LAN (or several) of hosts by address.

    Args:
        timeline: Its time.
        rng: Decides what is lost and how long the rest takes.
        weather: How bad it is.
    """

    def __init__(self, timeline: Timeline, rng: Random, weather: Weather) -> None:
        self.timeline = timeline
        self.weather = weather
        self.rng = rng
        self.transports: dict[str, VirtualTransport] = {}
        """Host address -> the agent that listens there."""
        self.runners: dict[Address, VirtualRunner] = {}
        """host:port -> the runner that listens there."""
        self.dark: dict[str, None] = {}
        """Hosts without power or cable: nothing reaches them, nothing answers for them."""
        self._cuts: dict[tuple[str, str], bool] = {}
        self._streams: dict[int, Stream] = {}
        self._next_stream = 0

    # --- faults -----------------------------------------------------------------------------------

    def cut(self, source: str, target: str, *, loud: bool = False) -> None:
        """Let nothing pass from one host to another; ``loud`` answers with a reset."""
        self._cuts[source, target] = loud
        for stream in list(self._streams.values()):
            stream.look(loud=loud)

    def heal(self) -> None:
        """End every cut."""
        self._cuts.clear()
        for stream in list(self._streams.values()):
            stream.look(loud=False)

    def plug(self, host: str, *, out: bool) -> None:
        """Pull a host's cable, or put it back."""
        if out:
            self.dark[host] = None
        else:
            self.dark.pop(host, None)
        for stream in list(self._streams.values()):
            stream.look(loud=False)

    @property
    def whole(self) -> bool:
        """Whether nothing is cut or unplugged."""
        return not self._cuts and not self.dark

    def listen(self, transport: "VirtualTransport") -> None:
        """Let an agent listen on its host's address for as long as its process lives."""
        self.transports[transport.host] = transport

        def gone() -> None:
            if self.transports.get(transport.host) is transport:
                del self.transports[transport.host]

        transport.process.at_death(gone)

    # --- what passes ------------------------------------------------------------------------------

    def passes(self, source: str, target: str) -> bool:
        """Return whether packets go from one host to another; within a host they always do."""
        if source == target:
            return True
        lit = source not in self.dark and target not in self.dark
        return lit and (source, target) not in self._cuts

    def both(self, one: str, other: str) -> bool:
        """Return whether packets go both ways."""
        return self.passes(one, other) and self.passes(other, one)

    def rejects(self, one: str, other: str) -> bool:
        """Return whether a loud cut answers for the other end."""
        cuts = self._cuts
        return cuts.get((one, other), False) or cuts.get((other, one), False)

    def flight_s(self) -> Seconds:
        """Return how long the next packet takes."""
        return self.weather.latency_s + self.weather.jitter_s * self.rng.random()

    def datagram(
        self, source: str, target: str, arrive: Callable[[], None], refuse: Callable[[], None]
    ) -> None:
        """Send a packet that may be lost, late or doubled.

        Args:
            source: From this host.
            target: To this host.
            arrive: What happens there.
            refuse: What happens here when nobody listens there.
        """
        weather, rng = self.weather, self.rng
        copies = 2 if weather.duplicate and rng.random() < weather.duplicate else 1
        for _ in range(copies):
            if weather.loss and rng.random() < weather.loss:
                continue
            flight_s = self.flight_s()
            if weather.reorder and rng.random() < weather.reorder:
                flight_s += weather.reorder_s * rng.random()
            self.timeline.after(flight_s, partial(self._land, source, target, arrive, refuse))

    def _land(
        self, source: str, target: str, arrive: Callable[[], None], refuse: Callable[[], None]
    ) -> None:
        if not self.passes(source, target):
            return
        if target in self.transports:
            arrive()
        elif self.passes(target, source):
            self.timeline.after(self.flight_s(), refuse)

    def connect(self, near: "Side", far: "Side", patience_s: Seconds) -> "Stream":
        """Return an established stream between two ends."""
        self._next_stream += 1
        stream = Stream(self, self._next_stream, (near, far), patience_s)
        self._streams[self._next_stream] = stream
        for number in (0, 1):
            process = (near, far)[number].process
            process.at_death(partial(stream.close, number))
        return stream

    def forget(self, number: int) -> None:
        """Drop a stream that is over."""
        self._streams.pop(number, None)


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a stream: where it is, and what happens there.

    Args:
        host: On which host.
        process: Of which process.
        hear: Takes what the other end sent.
        broke: Called once when the stream ends by the other end, or by loss of patience.
    """

    host: str
    process: Process
    hear: Callable[[Any], None]
    broke: Callable[[], None]


class _End:
    """Comes after the last bytes of a stream."""


class Stream:
    """A connection: ordered and complete until it breaks.

    Args:
        network: Carries it.
        number: Its name there.
        sides: The one that connected, the one that listened.
        patience_s: How long it may make no progress before both ends give up.
    """

    def __init__(
        self, network: Network, number: int, sides: tuple[Side, Side], patience_s: Seconds
    ) -> None:
        self._network = network
        self._number = number
        self._sides = sides
        self._patience_s = patience_s
        self._over = [False, False]
        self._last_s = [0.0, 0.0]
        self._held: tuple[list[Any], list[Any]] = ([], [])
        self._stuck = 0
        self._episodes = 0

    @property
    def open(self) -> bool:
        """Whether both ends still hold it."""
        return not self._over[0] and not self._over[1]

    def send(self, side: int, data: Any) -> bool:
        """Send from one end (0 near, 1 far); False when that end is over."""
        if self._over[side]:
            return False
        network = self._network
        delay_s = network.flight_s()
        if network.weather.loss and network.rng.random() < network.weather.loss:
            delay_s += RESEND_S
        other = 1 - side
        when = max(network.timeline.now + delay_s, self._last_s[other])
        self._last_s[other] = when
        network.timeline.at(when, partial(self._arrive, other, data))
        return True

    def close(self, side: int) -> None:
        """End it from one side; the other hears of it after what was sent."""
        if self._over[side]:
            return
        self.send(side, _End)
        self._over[side] = True
        self._held[side].clear()
        if self._over[1 - side]:
            self._network.forget(self._number)

    def look(self, *, loud: bool) -> None:
        """Take in that the network changed."""
        near, far = self._sides[0].host, self._sides[1].host
        if self._network.both(near, far):
            if self._stuck:
                delay_s = RESEND_S * (1 + self._network.rng.random())
                self._network.timeline.after(delay_s, self._resume)
        elif loud and self._network.rejects(near, far):
            self._give_up()
        elif not self._stuck:
            self._get_stuck()

    def _passes(self) -> bool:
        return self._network.both(self._sides[0].host, self._sides[1].host)

    def _arrive(self, side: int, data: Any) -> None:
        if self._over[side]:
            return
        if self._held[side] or not self._passes():
            self._held[side].append(data)
            if not self._stuck:
                self._get_stuck()
        else:
            self._hand_over(side, data)

    def _hand_over(self, side: int, data: Any) -> None:
        receiver = self._sides[side]
        if data is _End:
            receiver.process.run(partial(self._end, side))
        else:
            receiver.process.run(partial(self._hear, side, data))

    def _hear(self, side: int, data: Any) -> None:
        if not self._over[side]:
            self._sides[side].hear(data)

    def _end(self, side: int) -> None:
        if self._over[side]:
            return
        self._over[side] = True
        if self._over[1 - side]:
            self._network.forget(self._number)
        self._sides[side].broke()

    def _get_stuck(self) -> None:
        self._episodes += 1
        self._stuck = token = self._episodes

        def lose_patience() -> None:
            if self._stuck == token:
                self._give_up()

        self._network.timeline.after(self._patience_s, lose_patience)

    def _resume(self) -> None:
        if not self._stuck or not self._passes():
            return
        self._stuck = 0
        for side in (0, 1):
            held = list(self._held[side])
            self._held[side].clear()
            for data in held:
                if not self._over[side]:
                    self._hand_over(side, data)

    def _give_up(self) -> None:
        for side in (0, 1):
            if not self._over[side]:
                self._sides[side].process.run(partial(self._end, side))
