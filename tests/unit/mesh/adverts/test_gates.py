"""Gates in adverts: what is believed of a peer's, and what is worth telling of one's own."""

import msgspec
import pytest

from qallow_agent.base.errors import Malformed, PeerError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.mesh.adverts.advert import MAX_WORDS, judge_advert, sign_advert
from qallow_agent.mesh.adverts.hysteresis import what_changed
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert, DeviceState

KEY = SigningKey(b"\x07" * 32)
OPEN = GateReport(GateState.OPEN, 950, 1000, 1000, ("s0", "", ""), policy=bytes(32))


def advert(gate: GateReport | None) -> Advert:
    device = DeviceAdvert("cpu0", "cpu", "a cpu", DeviceState.OK, 2, 0, 1 << 30, gate=gate)
    return Advert(NodeId(KEY.id), 1, 1, 0, 30.0, (device,), (), {}, "1.0")


def change(**changes: object) -> str:
    after = msgspec.structs.replace(OPEN, **changes)
    return what_changed(advert(OPEN), advert(after), AdvertSettings())


def test_a_gate_survives_the_wire_and_is_believed_when_it_is_sound() -> None:
    signed = sign_advert(advert(OPEN), KEY)
    assert signed.devices[0].gate == OPEN
    assert judge_advert(signed, KEY.public, 65_536) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"s": -1},
        {"h": 1001},
        {"culprits": ("s1", "c" * 17, "")},
        {"policy": b"short"},
        {"why": "w" * (MAX_WORDS + 1)},
        {"fix": "f" * (MAX_WORDS + 1)},
    ],
)
def test_a_gate_out_of_bounds_is_a_peers_fault(changes: dict[str, object]) -> None:
    signed = sign_advert(advert(msgspec.structs.replace(OPEN, **changes)), KEY)
    with pytest.raises(PeerError):
        judge_advert(signed, KEY.public, 65_536)


def test_a_state_that_nobody_knows_does_not_decode() -> None:
    data = msgspec.msgpack.encode(advert(OPEN)).replace(b"open", b"ajar")
    with pytest.raises((Malformed, msgspec.ValidationError)):
        msgspec.msgpack.decode(data, type=Advert)


def test_what_is_worth_telling_of_a_gate() -> None:
    assert change(s=930) == ""
    assert change(why="other words") == ""
    assert change(s=880) == "cpu0.gate"
    assert change(state=GateState.DEFERS) == "cpu0.gate"
    assert change(policy=b"\x01" * 32) == "cpu0.gate"
    assert what_changed(advert(None), advert(OPEN), AdvertSettings()) == "cpu0.gate"


def test_a_closed_gate_tells_when_another_signal_keeps_it_closed() -> None:
    shut = msgspec.structs.replace(OPEN, state=GateState.REFUSES, culprits=("s2", "", ""))
    after = msgspec.structs.replace(shut, culprits=("s2", "c3", ""))
    assert what_changed(advert(shut), advert(after), AdvertSettings()) == "cpu0.gate"
