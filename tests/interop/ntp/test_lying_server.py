"""A real UDP server that answers NTP requests, truly or with one lie at a time."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from qallow_agent.base.errors import PeerError
from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.ntp import Kiss, Measured, NtpSource, ask
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.wire.facts import NtpAnswer

NTP_1900_S = 2_208_988_800


def stamp(unix_s: float) -> bytes:
    whole = int(unix_s // 1)
    return struct.pack("!II", (whole + NTP_1900_S) & 0xFFFFFFFF, int(unix_s % 1 * 2**32))


@dataclass
class Answer:
    """One server's packet; each field can be made a lie."""

    offset_s: float = 0.0
    stratum: int = 2
    leap: int = 0
    mode: int = 4
    kiss: bytes = b"\x7f\x7f\x01\x01"
    root_delay_s: float = 0.001
    root_dispersion_s: float = 0.002
    set_ago_s: float = 60.0
    origin: bytes | None = None
    zero_time: bool = False
    backwards_s: float = 0.0
    length: int = 48
    copies: int = 1
    lies_first: list[bytes] = field(default_factory=list)

    def packet(self, query: bytes) -> bytes:
        now_s = time.time() + self.offset_s
        times = (
            stamp(now_s - self.set_ago_s)
            + (query[40:48] if self.origin is None else self.origin)
            + (bytes(8) if self.zero_time else stamp(now_s))
            + (bytes(8) if self.zero_time else stamp(now_s - self.backwards_s))
        )
        head = struct.pack(
            "!BBbbII4s",
            self.leap << 6 | 4 << 3 | self.mode,
            self.stratum,
            6,
            -20,
            int(self.root_delay_s * 65536),
            int(self.root_dispersion_s * 65536),
            self.kiss,
        )
        return (head + times)[: self.length]


class Server:
    """Answers on loopback until closed; counts what it was asked."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while self._open:
            try:
                query, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.asked += 1
            if self.answer is not None:
                for lie in self.answer.lies_first:
                    self._socket.sendto(lie, client)
                self._socket.sendto(self.answer.packet(query), client)

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._socket.close()


Serve = Callable[[Answer | None], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(answer: Answer | None) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("offset_s", [0.0, 0.25, -3600.0])
def test_an_honest_answer_gives_the_offset_within_its_bound(serve: Serve, offset_s: float) -> None:
    measured = ask(serve(Answer(offset_s)).name, 2.0)
    assert isinstance(measured, Measured)
    assert abs(measured.offset_s - offset_s) <= measured.bound_s
    assert measured.bound_s >= 0.0025


def test_a_server_beyond_the_year_2036_is_understood(serve: Serve) -> None:
    beyond_s = 2**32 - NTP_1900_S + 1000 - time.time()
    measured = ask(serve(Answer(beyond_s)).name, 2.0)
    assert isinstance(measured, Measured)
    assert abs(measured.offset_s - beyond_s) <= measured.bound_s


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (Answer(stratum=16), "not synchronised"),
        (Answer(leap=3), "not synchronised"),
        (Answer(mode=3), "mode 3"),
        (Answer(mode=5), "mode 5"),
        (Answer(root_delay_s=4.0), "root distance"),
        (Answer(root_dispersion_s=20.0), "root distance"),
        (Answer(set_ago_s=200_000.0), "last set"),
        (Answer(set_ago_s=-50.0), "last set"),
        (Answer(zero_time=True), "carries no time"),
        (Answer(backwards_s=5.0), "contradict"),
        (Answer(length=40), "too short"),
    ],
)
def test_a_lie_is_refused_with_its_reason(serve: Serve, lie: Answer, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        ask(serve(lie).name, 2.0)


@pytest.mark.parametrize("origin", [bytes(8), b"\xff" * 8])
def test_an_answer_to_another_question_is_waited_past(serve: Serve, origin: bytes) -> None:
    with pytest.raises(TimeoutError):
        ask(serve(Answer(origin=origin)).name, 0.2)


def test_forged_answers_before_the_true_one_do_not_matter(serve: Serve) -> None:
    forged = [b"", b"\x24" * 20, Answer(offset_s=99.0).packet(bytes(48)), b"x" * 500]
    measured = ask(serve(Answer(lies_first=forged)).name, 2.0)
    assert isinstance(measured, Measured)
    assert abs(measured.offset_s) <= measured.bound_s


@pytest.mark.parametrize("code", ["DENY", "RSTR", "RATE"])
def test_a_kiss_of_death_is_told_apart_from_time(serve: Serve, code: str) -> None:
    assert ask(serve(Answer(stratum=0, kiss=code.encode())).name, 2.0) == Kiss(code)


def test_our_request_does_not_tell_what_our_clock_says(serve: Serve) -> None:
    first, second = serve(Answer()), serve(Answer())
    queries: list[bytes] = []
    for server in (first, second):
        packet = server.answer.packet if server.answer else None
        assert packet is not None

        def remember(query: bytes, packet: Callable[[bytes], bytes] = packet) -> bytes:
            queries.append(query)
            return packet(query)

        server.answer.packet = remember  # type: ignore[method-assign, union-attr]
        ask(server.name, 2.0)
    seconds = [int.from_bytes(query[40:44]) - NTP_1900_S for query in queries]
    assert all(abs(second_ - time.time()) > 3600 for second_ in seconds)
    assert seconds[0] != seconds[1]


def poll_until(source: NtpSource, wanted: int) -> list[NtpAnswer]:
    answers: list[NtpAnswer] = []
    deadline_s = time.monotonic() + 10
    while len(answers) < wanted and time.monotonic() < deadline_s:
        answers += [a for a in source.poll(Instant(0.0, 0)) if isinstance(a, NtpAnswer)]
        time.sleep(0.01)
    return answers


def test_the_source_hands_over_answers_and_reasons_and_never_blocks(serve: Serve) -> None:
    honest, silent = serve(Answer(0.5)), serve(None)
    names = (honest.name, silent.name, "x" * 70 + ".invalid", f"127.0.0.1:{closed_port()}")
    settings = SyncSettings(ntp_servers=names, ntp_period_s=3600, ntp_timeout_s=0.1)
    source = NtpSource(settings)
    try:
        answers = {answer.server: answer for answer in poll_until(source, 4)}
    finally:
        source.close()
    assert sorted(answers) == sorted(names)
    good = answers[honest.name]
    assert good.offset_s is not None
    assert good.bound_s is not None
    assert abs(good.offset_s - 0.5) <= good.bound_s
    assert all(answers[name].why and answers[name].offset_s is None for name in names[1:])
    assert source.next_deadline() is None


def test_a_server_that_denies_us_is_not_asked_again(serve: Serve) -> None:
    denying, honest = serve(Answer(stratum=0, kiss=b"DENY")), serve(Answer())
    names = (denying.name, honest.name)
    source = NtpSource(SyncSettings(ntp_servers=names, ntp_period_s=0.05, ntp_timeout_s=0.2))
    try:
        answers = poll_until(source, 8)
    finally:
        source.close()
    assert denying.asked == 1
    assert honest.asked > 2
    assert [a.why for a in answers if a.server == denying.name] == [
        "the server sent the kiss of death 'DENY'; it is not asked again"
    ]


def test_without_servers_no_thread_is_started() -> None:
    source = NtpSource(SyncSettings())
    before = threading.active_count()
    assert source.poll(Instant(0.0, 0)) == []
    assert threading.active_count() == before
    source.close()


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
