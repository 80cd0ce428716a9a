from typing import Any

import msgspec
import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, StorageCorrupt, UsageError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.mesh.trust.invites import (
    Invitation,
    InviteBook,
    decode_invitation,
    decode_invites,
    encode_invitation,
)
from qallow_agent.mesh.wire.kinds import Role

INVITATION = Invitation(
    MeshId("m" * 26), Contact(("10.0.0.1",), 1, 2, 3), NodeId("h" * 26), bytes(32), bytes(16), 99
)
TOKEN = encode_invitation(INVITATION)
ANN, BOB = NodeId("a" * 26), NodeId("b" * 26)


def book(uses: int = 1) -> InviteBook:
    made = InviteBook((), limit=2)
    made.create(b"secret", (Role.WORKER,), "default", uses, expires_s=100)
    return made


def test_a_token_survives_the_round_trip() -> None:
    assert decode_invitation(TOKEN) == INVITATION


def test_a_token_is_one_line_that_survives_a_shell() -> None:
    assert TOKEN.startswith("qj1-")
    assert TOKEN.replace("-", "").isalnum()
    assert TOKEN.lower() == TOKEN


def test_a_token_wrapped_by_a_mail_program_or_shouted_still_works() -> None:
    wrapped = " " + TOKEN[:40].upper() + "\n  " + TOKEN[40:] + "\r\n"
    assert decode_invitation(wrapped) == INVITATION


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "starts with 'qj1-'"),
        ("hello", "not 'hell'"),
        ("qj2-abc", "another version"),
        ("qj1-", "checksum"),
        (TOKEN[:-1], "cut off"),
        (TOKEN[:-8], "checksum is wrong"),
        (TOKEN[:50] + "!" + TOKEN[51:], "'!' at place 51"),
        (TOKEN[:50] + "1" + TOKEN[51:], "'1' at place 51"),
        ("qj1-" + "a" * 5000, "too long"),
    ],
)
def test_a_mangled_token_is_refused_with_what_is_wrong(token: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        decode_invitation(token)
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [{"contact": Contact(("a;b",), 1, 2)}, {"host_key": bytes(31)}, {"host": NodeId("me")}],
)
def test_a_well_made_token_of_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        decode_invitation(encode_invitation(msgspec.structs.replace(INVITATION, **change)))


def test_every_changed_character_is_noticed() -> None:
    for place in range(4, len(TOKEN)):
        other = "b" if TOKEN[place] == "a" else "a"
        with pytest.raises(UsageError):
            decode_invitation(TOKEN[:place] + other + TOKEN[place + 1 :])


def test_a_book_remembers_who_used_what() -> None:
    invites = book(uses=2)
    invites.redeem(b"secret", ANN, 1)
    assert invites.redeem(b"secret", BOB, 1).uses_left == 0
    assert InviteBook(decode_invites(invites.encode()), 2).outstanding() == invites.outstanding()


def test_a_node_that_asks_twice_uses_an_invite_once() -> None:
    invites = book()
    invites.redeem(b"secret", ANN, 1)
    assert invites.redeem(b"secret", ANN, 1).uses_left == 0


@pytest.mark.parametrize(
    ("secret", "now_s", "words"),
    [(b"other", 1, "never gave out"), (b"secret", 100, "expired 0 s ago")],
)
def test_a_bad_secret_is_refused(secret: bytes, now_s: int, words: str) -> None:
    with pytest.raises(JoinRefused, match=words):
        book().redeem(secret, ANN, now_s)


def test_a_used_up_invite_is_refused_and_the_book_unchanged() -> None:
    invites = book()
    invites.redeem(b"secret", ANN, 1)
    before = invites.outstanding()
    with pytest.raises(JoinRefused, match="used up"):
        invites.redeem(b"secret", BOB, 1)
    assert invites.outstanding() == before


def test_the_secret_itself_is_not_kept() -> None:
    assert b"secret" not in book().encode()


def test_a_full_book_says_so() -> None:
    invites = book()
    invites.create(b"two", (Role.WORKER,), "default", 1, 100)
    with pytest.raises(UsageError, match="outstanding"):
        invites.create(b"three", (Role.WORKER,), "default", 1, 100)


def test_ended_invites_are_remembered_for_a_day() -> None:
    invites = book()
    assert not invites.prune(100 + 86_399)
    assert invites.prune(100 + 86_400)
    assert invites.outstanding() == ()


def test_a_corrupt_book_is_named() -> None:
    with pytest.raises(StorageCorrupt, match="trust/invites"):
        decode_invites(b"\xc1")
