import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, PeerError, StorageCorrupt, UsageError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.mesh.trust.acquaintances import decode_known
from qallow_agent.mesh.trust.certificates import (
    Subject,
    bind_curve,
    issue,
    verify_credential,
)
from qallow_agent.mesh.trust.invites import (
    Invitation,
    InviteBook,
    decode_invitation,
    decode_invites,
    encode_invitation,
)
from qallow_agent.mesh.trust.revocations import decode_revocations
from qallow_agent.mesh.trust.standing import decode_standing
from qallow_agent.mesh.wire.kinds import Credential, Role

NOW_S = 1_800_000_000
MESH_KEY, NODE_KEY = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
MESH = MeshId(MESH_KEY.id)
CREDENTIAL = Credential(
    issue(
        MESH_KEY,
        Subject(NODE_KEY.public, "box", (Role.WORKER,)),
        mesh=MESH,
        now_s=NOW_S,
        lifetime_s=1000,
    ),
    bind_curve(NODE_KEY, bytes(32), 1, NOW_S),
)
ENCODED = msgspec.msgpack.encode(CREDENTIAL)
TOKEN = encode_invitation(
    Invitation(MESH, Contact(("h",), 1, 2), NodeId("n" * 26), bytes(32), bytes(16), NOW_S)
)


@settings(deadline=None)
@given(st.text(max_size=300) | st.text("abcxyz237", max_size=300).map("qj1-".__add__))
def test_any_text_is_no_invite_but_a_usage_error(text: str) -> None:
    try:
        decode_invitation(text)
    except UsageError:
        return
    raise AssertionError("junk became an invite")


@settings(deadline=None)
@given(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN)))
def test_any_piece_cut_out_of_an_invite_is_noticed(start: int, end: int) -> None:
    mangled = TOKEN[:start] + TOKEN[end:]
    if mangled == TOKEN:
        return
    try:
        decode_invitation(mangled)
    except UsageError:
        return
    raise AssertionError("a mangled invite was taken")


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(ENCODED) - 1), st.integers(0, 255))
def test_a_credential_with_any_changed_byte_is_refused(place: int, value: int) -> None:
    data = ENCODED[:place] + bytes([value]) + ENCODED[place + 1 :]
    try:
        shown = msgspec.msgpack.decode(data, type=Credential)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if shown == CREDENTIAL:
        return
    try:
        verify_credential(shown, mesh=MESH, mesh_key=MESH_KEY.public, now_s=NOW_S, revoked=())
    except PeerError:
        return
    raise AssertionError(f"a forged credential was believed: {shown}")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_kept_bytes_are_storage_errors(data: bytes) -> None:
    for decode in (
        decode_standing,
        decode_invites,
        decode_revocations,
        lambda kept: decode_known({"trust/known/x": kept}),
    ):
        try:
            decode(data)
        except StorageCorrupt:
            continue
        assert data == b"\x90", "only the empty list is something"


class Invites(RuleBasedStateMachine):
    """The book against a dumb one: an invite never lets in more nodes than it was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.book = InviteBook((), limit=3)
        self.now_s = 0
        self.made: dict[bytes, tuple[int, int]] = {}
        self.used: dict[bytes, set[NodeId]] = {}

    @rule(
        secret=st.sampled_from([b"a", b"b", b"c"]), uses=st.integers(1, 2), life_s=st.integers(1, 9)
    )
    def create(self, secret: bytes, uses: int, life_s: int) -> None:
        if secret not in self.made:
            self.book.create(secret, (Role.WORKER,), "default", uses, self.now_s + life_s)
            self.made[secret] = (uses, self.now_s + life_s)
            self.used[secret] = set()

    @rule(secret=st.sampled_from([b"a", b"b", b"c", b"z"]), node=st.sampled_from("xyz"))
    def redeem(self, secret: bytes, node: str) -> None:
        uses, expires_s = self.made.get(secret, (0, 0))
        used = self.used.get(secret, set())
        good = self.now_s < expires_s and (node in used or len(used) < uses)
        try:
            self.book.redeem(secret, NodeId(node), self.now_s)
            assert good
            used.add(NodeId(node))
        except JoinRefused:
            assert not good

    @rule(step_s=st.integers(0, 4))
    def wait(self, step_s: int) -> None:
        self.now_s += step_s

    @rule()
    def restart(self) -> None:
        self.book = InviteBook(decode_invites(self.book.encode()), limit=3)

    @invariant()
    def nobody_is_let_in_too_often(self) -> None:
        assert all(invite.uses_left >= 0 for invite in self.book.outstanding())


TestInvites = Invites.TestCase
TestInvites.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
