"""What audits say: entropy by the book, agreement by its last audits, and a mesh of a thousand."""

import pytest

from qallow_agent.base.agreement import grouped, majority
from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.ethics.audits import (
    HALF_LIFE_S,
    WHOLE,
    WINDOW,
    Audit,
    AuditBook,
    result_entropy,
)

NOW_S = 1_800_000_000
PAIR = ("one/cpu0", "two/cpu0")
THREE = ("one/cpu0", "three/cpu0", "two/cpu0")


def book_of(*audits: Audit, now_s: int = NOW_S) -> AuditBook:
    book = AuditBook()
    for audit in audits:
        book.add(audit, now_s)
    return book


@pytest.mark.parametrize(
    ("classes", "millionths"),
    [((0, 0), 0), ((0, 1), WHOLE), ((0, 0, 0), 0), ((0, 1, 0), 579_380), ((0, 1, 2), WHOLE),
     ((0,), 0), ((), 0), ((7, 7, 3), 579_380)],
)  # fmt: skip
def test_result_entropy_is_zero_of_one_mind_and_one_when_all_differ(
    classes: tuple[int, ...], millionths: int
) -> None:
    assert result_entropy(classes) == millionths


def test_answers_join_the_first_class_whose_first_member_they_agree_with() -> None:
    values = [0.0, 0.6, 1.2, 0.5]
    assert grouped(4, lambda one, other: abs(values[one] - values[other]) <= 0.6) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("classes", "winner"), [((0, 0), 0), ((0, 1), None), ((1, 0, 0), 0), ((0, 1, 2), None),
     ((), None)],
)  # fmt: skip
def test_a_majority_is_more_than_half(classes: tuple[int, ...], winner: int | None) -> None:
    assert majority(classes) == winner


def test_a_place_that_was_never_audited_has_full_agreement() -> None:
    assert AuditBook().agreement("one/cpu0", NOW_S) == WHOLE


def test_one_dissent_is_no_catastrophe_and_three_of_three_are() -> None:
    book = book_of(Audit(THREE, (0, 1, 0)))
    assert book.agreement("three/cpu0", NOW_S) == 20 * WHOLE // 21
    book.add(Audit(THREE, (0, 1, 0), times=2), NOW_S)
    assert book.agreement("three/cpu0", NOW_S) == 20 * WHOLE // 23
    assert book.agreement("one/cpu0", NOW_S) == WHOLE
    assert (book.audited("three/cpu0"), book.dissents("three/cpu0")) == (3, 3)


def test_a_dissent_weighs_half_after_a_day() -> None:
    book = book_of(Audit(THREE, (0, 1, 0), times=4))
    later_s = NOW_S + HALF_LIFE_S
    assert book.agreement("three/cpu0", later_s) == 20 * WHOLE // 22


def test_only_the_last_thousand_audits_of_a_place_count() -> None:
    book = book_of(Audit(THREE, (0, 1, 0), times=5))
    book.add(Audit(THREE, (0, 0, 0), times=WINDOW), NOW_S + 5)
    assert book.audited("three/cpu0") == WINDOW
    assert book.agreement("three/cpu0", NOW_S + 5) == WHOLE


def test_others_audits_do_not_wash_a_dissent_away() -> None:
    book = book_of(Audit(THREE, (0, 1, 0), times=3), Audit(PAIR, (0, 0), times=WINDOW))
    assert book.agreement("three/cpu0", NOW_S) < 900_000


def test_without_a_majority_the_mesh_is_charged_and_no_device() -> None:
    book = book_of(Audit(PAIR, (0, 1)))
    assert book.agreement("one/cpu0", NOW_S) == WHOLE
    assert book.mesh().mesh_entropy == WHOLE


@pytest.mark.parametrize(
    "audit",
    [Audit(("one/cpu0",), (0,)), Audit(PAIR, (0,)), Audit(("a", "a"), (0, 0)),
     Audit(PAIR, (0, 0), 0)],
)  # fmt: skip
def test_what_is_no_comparison_changes_nothing(audit: Audit) -> None:
    assert book_of(audit).mesh().audits == 0


def test_fewer_than_a_thousand_audits_are_not_enough_evidence() -> None:
    mesh = book_of(Audit(PAIR, (0, 0), times=WINDOW - 1)).mesh()
    assert not mesh.enough
    assert not mesh.ordered
    assert mesh.text() == "mesh entropy 0.000000: not enough evidence (999 of 1,000 audits)"


def test_one_split_of_three_in_a_thousand_is_within_the_threshold_and_two_are_not() -> None:
    book = book_of(Audit(PAIR, (0, 0), times=WINDOW - 1), Audit(THREE, (0, 1, 0)))
    assert book.mesh().ordered
    assert book.mesh().text() == "mesh entropy 0.000580 over 1,000 audits, within 0.001"
    book.add(Audit(THREE, (0, 1, 0)), NOW_S)
    assert not book.mesh().ordered
    assert "above 0.001" in book.mesh().text()


def test_coherence_is_the_least_of_its_parts_and_decoherence_the_rest() -> None:
    book = book_of(Audit(PAIR, (0, 0), times=9), Audit(PAIR, (0, 1)))
    mesh = book.mesh((950_000, 970_000))
    assert (mesh.coherence, mesh.decoherence) == (900_000, 100_000)
    assert book.mesh((800_000,)).coherence == 800_000
    assert (mesh.audits, mesh.entropy) == (10, WHOLE)


def test_a_book_survives_a_restart() -> None:
    book = book_of(Audit(THREE, (0, 1, 0), times=3), Audit(PAIR, (0, 0), times=40))
    assert book.news == 43
    again = AuditBook(book.pack())
    assert book.news == again.news == 0
    assert again.mesh() == book.mesh()
    assert again.places() == book.places()
    assert again.dissents("three/cpu0") == 3
    assert again.agreement("three/cpu0", NOW_S) == book.agreement("three/cpu0", NOW_S)


@pytest.mark.parametrize("kept", [b"nonsense", b"\x94\x63\x90\x80\x80"])
def test_a_book_that_does_not_decode_is_named(kept: bytes) -> None:
    with pytest.raises(StorageCorrupt) as caught:
        AuditBook(kept)
    assert "audits" in caught.value.message
    assert caught.value.hint


def test_what_is_forgiven_is_forgotten_of_that_place_only() -> None:
    book = book_of(Audit(THREE, (0, 1, 1)))
    book.forgive("one/cpu0")
    assert (book.audited("one/cpu0"), book.dissents("one/cpu0")) == (0, 0)
    assert book.audited("two/cpu0") == 1
    assert book.mesh().audits == 1


def test_the_places_that_were_audited_longest_ago_are_forgotten_first() -> None:
    book = AuditBook()
    for number in range(300):
        book.add(Audit((f"n{number}/cpu0", "me/cpu0", "you/cpu0"), (1, 0, 0)), NOW_S)
    assert len(book.places()) == 256
    assert book.audited("n0/cpu0") == book.dissents("n0/cpu0") == 0
    assert book.dissents("n299/cpu0") == 1
    assert book.audited("me/cpu0") == 300
