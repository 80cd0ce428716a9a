"""The router: filter, score, draw by power of two choices, and explain.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): the better
of two random candidates is nearly as good as the best and does not herd on stale information.
"""

from collections.abc import Sequence

from qallow_agent.base.ids import Entropy
from qallow_agent.placement.limits import Refusal, fits_wish, refusal
from qallow_agent.placement.request import Allotment, Candidate, Decision, Request, Verdict
from qallow_agent.placement.score import cost, explain
from qallow_agent.placement.settings import PlacementSettings


def choose(
    request: Request,
    candidates: Sequence[Candidate],
    settings: PlacementSettings,
    rng: Entropy,
) -> Decision:
    """Return which devices to ask for how many slots, with a verdict on every candidate.

    Free slots are given out one by one, each to the better of two random candidates near the
    best; a device that fills up grows worse, so slots spread in proportion to free capacity.
    When every fitting device is busy, one slot is asked for all the same: benches queue briefly
    and share by turns.

    Args:
        request: What is wanted.
        candidates: Every device of every live member.
        settings: Assumptions where nothing was measured.
        rng: Entropy for the draws.
    """
    fitting: list[Candidate] = []
    refused: list[tuple[Candidate, Refusal]] = []
    for candidate in sorted(candidates, key=lambda each: each.key):
        against = refusal(request, candidate, settings)
        if against is None:
            fitting.append(candidate)
        else:
            refused.append((candidate, against))
    verdicts = _explain(request, fitting, refused, settings)
    if not fitting:
        return _nothing(request, refused, verdicts)
    taken = _deal(request, fitting, settings, rng)
    choices = tuple(
        Allotment(
            candidate.node,
            candidate.device,
            taken[candidate.key],
            explain(request, candidate, settings),
        )
        for candidate in fitting
        if taken.get(candidate.key)
    )
    return Decision(choices=choices, explanation=verdicts)


def _deal(
    request: Request, fitting: list[Candidate], settings: PlacementSettings, rng: Entropy
) -> dict[str, int]:
    """Return slots per candidate key."""
    free = [candidate for candidate in fitting if candidate.free > 0]
    taken: dict[str, int] = {}
    pool = free or list(fitting)
    costs = [cost(request, each, 0, settings) for each in pool]
    for _ in range(request.slots if free else 1):
        if not pool:
            break
        index = _draw(costs, settings, rng)
        winner = pool[index]
        taken[winner.key] = taken.get(winner.key, 0) + 1
        if taken[winner.key] >= winner.free:
            del pool[index], costs[index]
        else:
            costs[index] = cost(request, winner, taken[winner.key], settings)
    return taken


def _draw(costs: list[float], settings: PlacementSettings, rng: Entropy) -> int:
    """Return the better of two random candidates among those near the best."""
    bar = min(costs) * settings.near_best
    near = [index for index, each in enumerate(costs) if each <= bar]
    first, second = near[rng.randrange(len(near))], near[rng.randrange(len(near))]
    return min((costs[first], first), (costs[second], second))[1]


def _explain(
    request: Request,
    fitting: list[Candidate],
    refused: list[tuple[Candidate, Refusal]],
    settings: PlacementSettings,
) -> tuple[Verdict, ...]:
    scored = sorted(
        ((cost(request, each, 0, settings), each.key, each) for each in fitting),
        key=lambda row: row[:2],
    )
    return (
        *(
            Verdict(each.label, price, explain(request, each, settings))
            for price, _, each in scored
        ),
        *(
            Verdict(candidate.label, None, against.why, against.lasting)
            for candidate, against in refused
        ),
    )


def _nothing(
    request: Request,
    refused: list[tuple[Candidate, Refusal]],
    verdicts: tuple[Verdict, ...],
) -> Decision:
    """Return a decision without choices that says what stood in the way."""
    if not refused:
        return Decision(
            (), verdicts, "no member advertises any device yet", "see: qallow-agent devices"
        )
    # A device named in full may belong to a node whose advert has not arrived: wait for it.
    named = "/" in request.device and not any(
        fits_wish(request.device, candidate) for candidate, _ in refused
    )
    never = not named and all(against.lasting for _, against in refused)
    wanted = [pair for pair in refused if fits_wish(request.device, pair[0])] or refused
    shown = "; ".join(f"{candidate.label} {against.why}" for candidate, against in wanted[:3])
    more = f"; and {len(wanted) - 3} more" if len(wanted) > 3 else ""  # noqa: PLR2004
    word = "no device can ever run" if never else "no device can run"
    now = "" if never else " now"
    return Decision(
        (),
        verdicts,
        f"{word} {request.kernel}{now}: {shown}{more}",
        _hint(request, [against for _, against in wanted], never=never),
        never=never,
    )


def _hint(request: Request, against: list[Refusal], *, never: bool) -> str:
    if not never:
        return "see: qallow-agent devices; a job may wait longer with --start-within"
    if any("version" in each.why for each in against):
        return "install the same release of the kernel on every node"
    if any("a task needs" in each.why for each in against):
        return "make the task smaller or add a node with more memory"
    if request.device != "any":
        return "choose another device or leave it to the mesh: device=any"
    return f"install a kernel package that offers {request.kernel} on a node"
