"""Agreement: which answers are of one mind, and whether most of them are."""

from collections.abc import Callable, Sequence


def grouped(answers: int, same: Callable[[int, int], bool]) -> tuple[int, ...]:
    """Return the class of each answer, numbered from 0 in the order of their first members.

    Closeness is not transitive, so the rule is fixed: an answer joins the first class whose *first*
    member it agrees with. Whoever groups the same answers in the same order gets the same classes.

    Args:
        answers: How many there are.
        same: Whether two of them agree within the kernel's declared tolerance.
    """
    first: list[int] = []
    classes: list[int] = []
    for answer in range(answers):
        for number, member in enumerate(first):
            if same(member, answer):
                classes.append(number)
                break
        else:
            classes.append(len(first))
            first.append(answer)
    return tuple(classes)


def majority(classes: Sequence[int]) -> int | None:
    """Return the class that more than half of the answers are in; None when there is none."""
    for number in sorted(set(classes)):
        if 2 * classes.count(number) > len(classes):
            return number
    return None
