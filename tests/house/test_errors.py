import logging
import pickle
import re
from collections.abc import Iterator

import pytest

from qallow_agent.base import errors
from qallow_agent.base.errors import BLAME, BY_CODE, QallowError


def below(kind: type[QallowError]) -> Iterator[type[QallowError]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


OWN = [kind for kind in below(QallowError) if kind.__module__.startswith("qallow_agent.")]
EXITS = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_the_table_of_blame_is_total() -> None:
    assert sorted(kind.__name__ for kind in OWN) == sorted(kind.__name__ for kind in BLAME)


def test_every_code_belongs_to_one_class() -> None:
    assert len(BY_CODE) == len(BLAME)
    assert QallowError.code not in BY_CODE


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_an_error_says_when_it_happens_and_whose_fault_it_is(kind: type[QallowError]) -> None:
    exit_code, level = BLAME[kind]
    assert exit_code in EXITS - {errors.EXIT_OK}
    assert logging.getLevelName(level) in {"INFO", "WARNING", "ERROR", "CRITICAL"}
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)
    assert kind.__doc__
    assert ";" in kind.__doc__, "the docstring has two clauses: what happened; whose fault or state"


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_an_error_survives_a_process_pool(kind: type[QallowError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("why", hint="do", retryable=True)))  # noqa: S301 - ours
    assert (type(copy), copy.message, copy.hint, copy.retryable) == (kind, "why", "do", True)


def test_the_guide_lists_every_error_with_its_exit_code(pages: dict[str, str]) -> None:
    row = re.compile(r"^\| `([a-z-]+)` \| (\d+) \|", re.MULTILINE)
    listed = {code: int(exit_code) for code, exit_code in row.findall(pages["docs/user-guide.md"])}
    assert listed == {kind.code: exit_code for kind, (exit_code, _) in BLAME.items()}
