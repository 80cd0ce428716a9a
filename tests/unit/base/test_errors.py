import logging
import pickle

import pytest

from qallow_agent.base import errors
from qallow_agent.base.errors import (
    BLAME,
    BY_CODE,
    BadParameter,
    DeviceLost,
    InvariantBroken,
    NotAllowed,
    PeerError,
    QallowError,
    UserError,
    revive,
)


def family(root: type[QallowError]) -> list[type[QallowError]]:
    """Return every class of the base module below another."""
    found = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return found + [below for kind in found for below in family(kind)]


ALL = family(QallowError)


def test_the_table_is_total_over_every_error_but_the_base() -> None:
    assert set(ALL) == set(BLAME)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in ALL]
    assert sorted(codes) == sorted(set(codes))
    assert all("code" in vars(kind) for kind in ALL)
    assert len(BY_CODE) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_when_it_happens_and_what_became_of_the_state(
    kind: type[QallowError],
) -> None:
    assert len(kind.__doc__ or "") > 40


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling_and_the_wire(kind: type[QallowError]) -> None:
    error = kind("it broke", hint="mend it", retryable=True)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    again = revive(kind.code, error.message, hint=error.hint, retryable=error.retryable)
    for other in (copy, again):
        assert type(other) is kind
        assert (other.message, other.hint, other.retryable) == ("it broke", "mend it", True)
        assert str(other) == "it broke"


@pytest.mark.parametrize("kind", ALL)
def test_every_exit_code_and_level_is_a_usual_one(kind: type[QallowError]) -> None:
    exit_code, level = BLAME[kind]
    assert 1 <= exit_code <= 78
    assert level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def test_a_class_knows_whether_trying_again_makes_sense() -> None:
    assert DeviceLost("gone").retryable
    assert not BadParameter("wrong").retryable
    assert not DeviceLost("gone", retryable=False).retryable


def test_an_error_of_a_newer_peer_stays_readable() -> None:
    error = revive("quantum-flux", "the flux is off")
    assert type(error) is PeerError
    assert "the flux is off" in error.message
    assert "quantum-flux" in error.message


def test_only_a_bug_of_ours_is_critical() -> None:
    critical = [kind for kind, (_, level) in BLAME.items() if level == logging.CRITICAL]
    assert critical == [InvariantBroken]
    assert not issubclass(InvariantBroken, UserError | PeerError)


def test_a_traceback_shows_the_fix_too() -> None:
    assert NotAllowed("no", hint="ask for the role").__notes__ == ["fix: ask for the role"]
    assert not hasattr(NotAllowed("no"), "__notes__")
