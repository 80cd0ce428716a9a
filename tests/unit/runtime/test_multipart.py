from collections.abc import Iterator

import pytest
import zmq

from qallow_agent.runtime.eagerness import Eagerness
from qallow_agent.runtime.multipart import receive, send

Sockets = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.router_mandatory = True
    router.bind("inproc://test")
    dealer.connect("inproc://test")
    yield router, dealer
    router.close()
    dealer.close()
    context.term()


@pytest.mark.parametrize("parts", [[b"a"], [b"a", b""], [b"a", b"b" * 100_000, b"c"]])
def test_a_message_arrives_in_its_parts(sockets: Sockets, parts: list[bytes]) -> None:
    router, dealer = sockets
    dealer.send_multipart(parts)
    dealer.send(b"next")
    _, frames = receive(router)
    assert [frame.bytes for frame in frames] == parts
    _, frames = receive(router)
    assert [frame.bytes for frame in frames] == [b"next"]


def test_an_empty_queue_raises_again(sockets: Sockets) -> None:
    router, _ = sockets
    with pytest.raises(zmq.Again):
        receive(router, zmq.NOBLOCK)


def test_bytes_and_arrays_are_sent_in_order(sockets: Sockets) -> None:
    router, dealer = sockets
    dealer.send(b"hello")
    route, _ = receive(router)
    big = memoryview(bytearray(200_000))
    for arrays in ([], [b"x"], [big], [b"x", big, b"y"]):
        send(router, route, b"header", arrays)
        assert dealer.recv_multipart() == [b"header", *(bytes(array) for array in arrays)]


def test_a_peer_that_is_gone_raises(sockets: Sockets) -> None:
    router, _ = sockets
    with pytest.raises(zmq.ZMQError):
        send(router, b"nobody", b"header", [b"x"])


def test_a_watch_ends_with_a_message_or_after_a_moment(sockets: Sockets) -> None:
    router, dealer = sockets
    eagerness = Eagerness(router)
    for _ in range(200):
        eagerness.watch()
    dealer.send(b"hello")
    eagerness.watch()
    _, frames = receive(router)
    assert frames[0].bytes == b"hello"
