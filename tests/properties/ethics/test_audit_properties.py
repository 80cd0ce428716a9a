"""The book of audits against a dumb one that remembers everything; bytes that are not its own."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qallow_agent.base.agreement import grouped, majority
from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.ethics.audits import PRIOR, WHOLE, WINDOW, Audit, AuditBook, result_entropy

PLACES = [f"n{number}/cpu0" for number in range(4)]
audits = st.builds(
    lambda places, classes, times: Audit(tuple(places), tuple(classes[: len(places)]), times),
    st.lists(st.sampled_from(PLACES), min_size=2, max_size=3, unique=True),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
    st.integers(1, 400),
)


@given(st.lists(audits, max_size=12))
def test_the_book_agrees_with_one_that_remembers_every_audit(found: list[Audit]) -> None:
    book = AuditBook()
    entropies: list[int] = []
    outcomes: dict[str, list[int]] = {place: [] for place in PLACES}
    for audit in found:
        book.add(audit, 1_000)
        for _ in range(audit.times):
            entropies.append(result_entropy(audit.classes))
            winner = majority(audit.classes)
            if winner is not None:
                for place, number in zip(audit.places, audit.classes, strict=True):
                    outcomes[place].append(int(number == winner))
    last = entropies[-WINDOW:]
    mesh = book.mesh()
    assert (mesh.audits, mesh.entropy) == (len(last), sum(last))
    for place, each in outcomes.items():
        kept = each[-WINDOW:]
        agreed, audited = sum(kept) + PRIOR, len(kept) + PRIOR
        assert book.agreement(place, 1_000) == agreed * WHOLE // audited
    assert AuditBook(book.pack()).mesh() == mesh


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
def test_result_entropy_lies_between_none_and_all(classes: list[int]) -> None:
    entropy = result_entropy(classes)
    assert 0 <= entropy <= WHOLE
    assert (entropy == 0) == (len(set(classes)) == 1)
    assert entropy == result_entropy(list(reversed(classes)))
    assert (entropy == WHOLE) == (len(set(classes)) == len(classes))


@given(st.lists(st.floats(allow_nan=False, width=16), max_size=6))
def test_equality_groups_what_is_equal_and_nothing_else(values: list[float]) -> None:
    classes = grouped(len(values), lambda one, other: values[one] == values[other])
    for one, first in enumerate(values):
        for other, second in enumerate(values):
            assert (classes[one] == classes[other]) == (first == second)


@given(st.binary(max_size=60))
def test_foreign_bytes_are_corrupt_or_a_book(data: bytes) -> None:
    found: Any = None
    with contextlib.suppress(StorageCorrupt):
        found = AuditBook(data).mesh()
    assert found is None or found.audits >= 0
