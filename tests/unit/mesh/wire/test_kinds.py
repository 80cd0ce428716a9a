from qallow_agent.base.message import kind_of, kinds
from qallow_agent.mesh.wire.kinds import DOOR_KINDS, MESH_KINDS, OLDEST_PROTOCOL, PROTOCOL


def test_no_two_messages_share_a_kind() -> None:
    assert len(kinds((*MESH_KINDS, *DOOR_KINDS))) == len(MESH_KINDS) + len(DOOR_KINDS)


def test_a_fact_of_a_room_is_never_taken_from_the_wire() -> None:
    assert not [kind for kind in kinds((*MESH_KINDS, *DOOR_KINDS)) if kind.startswith("fact.")]


def test_what_is_said_at_the_door_is_not_said_inside() -> None:
    assert not {kind_of(kind) for kind in DOOR_KINDS} & {kind_of(kind) for kind in MESH_KINDS}


def test_we_accept_what_we_speak() -> None:
    assert OLDEST_PROTOCOL <= PROTOCOL
