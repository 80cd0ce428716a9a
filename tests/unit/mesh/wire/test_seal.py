import pytest

from qallow_agent.base.errors import BadSignature, ConfigError, Malformed, Replayed, TooLarge
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.mesh.wire.seal import DATAGRAM_BYTES, OVERHEAD_BYTES, WINDOW, Sealer

MESH = MeshId("mesh" + "a" * 22)
ANN = NodeId("ann" + "a" * 23)
BOB = NodeId("bob" + "a" * 23)
KEY, OLD = bytes(32), bytes([1]) * 32


def sealer(node: NodeId = ANN, epoch: int = 1, *keys: bytes, mesh: MeshId = MESH) -> Sealer:
    return Sealer(keys or (KEY,), mesh, node, epoch)


def test_a_sealed_datagram_opens_to_its_sender_and_content() -> None:
    assert sealer(BOB).open(sealer(ANN).seal(b"hello")) == (ANN, b"hello")


def test_a_seal_costs_what_it_says() -> None:
    assert len(sealer().seal(b"")) == OVERHEAD_BYTES == 54


def test_the_same_content_never_seals_to_the_same_bytes() -> None:
    ann = sealer()
    assert ann.seal(b"x")[38:] != ann.seal(b"x")[38:]
    assert sealer(ANN).seal(b"x")[38:] != sealer(BOB).seal(b"x")[38:]
    assert sealer(ANN, 1).seal(b"x")[38:] != sealer(ANN, 2).seal(b"x")[38:]


def test_a_replayed_datagram_is_refused() -> None:
    bob, datagram = sealer(BOB), sealer(ANN).seal(b"x")
    bob.open(datagram)
    with pytest.raises(Replayed, match="seen before"):
        bob.open(datagram)


def test_datagrams_may_arrive_out_of_order_within_the_window() -> None:
    ann, bob = sealer(ANN), sealer(BOB)
    sealed = [ann.seal(b"%d" % number) for number in range(WINDOW)]
    assert all(bob.open(datagram)[0] == ANN for datagram in reversed(sealed))
    for datagram in sealed:
        with pytest.raises(Replayed):
            bob.open(datagram)


def test_a_datagram_older_than_the_window_is_refused() -> None:
    ann, bob = sealer(ANN), sealer(BOB)
    first, second, *rest = [ann.seal(b"x") for _ in range(WINDOW + 1)]
    bob.open(rest[-1])
    bob.open(second)
    with pytest.raises(Replayed, match="too old"):
        bob.open(first)


def test_a_jump_past_the_window_forgets_what_lies_before() -> None:
    ann, bob = sealer(ANN), sealer(BOB)
    bob.open(ann.seal(b"x"))
    sealed = [ann.seal(b"x") for _ in range(2 * WINDOW)]
    bob.open(sealed[-1])
    bob.open(sealed[-2])
    with pytest.raises(Replayed):
        bob.open(sealed[0])


def test_an_older_run_of_a_sender_is_refused_once_a_newer_was_heard() -> None:
    bob = sealer(BOB)
    bob.open(sealer(ANN, 2).seal(b"new"))
    with pytest.raises(Replayed, match="older run"):
        bob.open(sealer(ANN, 1).seal(b"old"))


def test_a_restarted_sender_is_heard_at_once() -> None:
    bob, before = sealer(BOB), sealer(ANN, 1)
    for _ in range(3):
        bob.open(before.seal(b"x"))
    assert bob.open(sealer(ANN, 2).seal(b"y")) == (ANN, b"y")


def test_a_forged_newer_run_does_not_shut_out_the_real_one() -> None:
    bob, ann = sealer(BOB), sealer(ANN, 1)
    bob.open(ann.seal(b"x"))
    with pytest.raises(BadSignature):
        bob.open(sealer(ANN, 9).seal(b"y")[:-1] + b"!")
    assert bob.open(ann.seal(b"z")) == (ANN, b"z")


def test_a_stranger_without_the_keyring_is_refused() -> None:
    with pytest.raises(BadSignature, match="does not hold"):
        sealer(BOB).open(sealer(ANN, 1, OLD).seal(b"x"))


def test_a_datagram_of_another_mesh_under_the_same_key_is_refused() -> None:
    other = MeshId("other" + "a" * 21)
    with pytest.raises(BadSignature):
        sealer(BOB).open(sealer(ANN, mesh=other).seal(b"x"))


def test_every_flipped_bit_is_noticed() -> None:
    datagram = sealer(ANN).seal(b"content")
    for place in range(len(datagram)):
        bent = bytearray(datagram)
        bent[place] ^= 1
        with pytest.raises((BadSignature, Malformed)):
            sealer(BOB).open(bytes(bent))


def test_every_truncation_is_noticed() -> None:
    datagram = sealer(ANN).seal(b"content")
    for length in range(len(datagram)):
        with pytest.raises((BadSignature, Malformed)):
            sealer(BOB).open(datagram[:length])


def test_an_older_key_of_the_ring_still_opens_and_the_newest_seals() -> None:
    both = sealer(BOB, 1, KEY, OLD)
    assert both.open(sealer(ANN, 1, OLD).seal(b"x"))[0] == ANN
    assert sealer(ANN, 1, KEY).open(both.seal(b"y"))[0] == BOB


def test_more_than_any_datagram_is_refused() -> None:
    with pytest.raises(TooLarge):
        sealer().open(bytes(DATAGRAM_BYTES + 1))


def test_only_so_many_senders_are_remembered() -> None:
    bob = Sealer((KEY,), MESH, BOB, 1, senders=2)
    for index in range(5):
        bob.open(sealer(NodeId("abcde"[index] * 26)).seal(b"x"))
    assert len(bob._windows) == 2


@pytest.mark.parametrize("keyring", [(), (b"short",)])
def test_an_unusable_keyring_is_refused(keyring: tuple[bytes, ...]) -> None:
    with pytest.raises(ConfigError):
        Sealer(keyring, MESH, ANN, 1)
