"""The deal: how many slots each fitting device gets; different devices first, if a job needs some.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
"""

from collections.abc import Sequence

from qallow_agent.base.ids import Entropy
from qallow_agent.placement.cost import Peers
from qallow_agent.placement.request import Candidate, Request
from qallow_agent.placement.score import cost
from qallow_agent.placement.settings import PlacementSettings


def deal(
    request: Request,
    fitting: Sequence[Candidate],
    peers: Peers,
    settings: PlacementSettings,
    rng: Entropy,
) -> dict[str, int]:
    """Return slots by candidate key, no more than ``request.slots``.

    Args:
        request: What is wanted.
        fitting: Who could take it, perhaps after queueing.
        peers: What is known of the kernel's rates elsewhere.
        settings: Assumptions where nothing was measured.
        rng: Entropy for the draws.
    """
    taken = _spread(request, fitting, peers, settings)
    # Slots kept back for devices that cannot be had now: on others they would be of no use.
    missing = max(0, request.places - len({*request.held, *taken}))
    slots = request.slots - sum(taken.values()) - (missing if request.places > 1 else 0)
    free = [each for each in fitting if each.free > taken.get(each.key, 0)]
    pool = free or [] if taken else free or list(fitting)
    costs = [cost(request, each, taken.get(each.key, 0), peers, settings) for each in pool]
    for _ in range(slots if free else min(slots, 1)):
        if not pool:
            break
        index = _draw(costs, settings, rng)
        winner = pool[index]
        taken[winner.key] = taken.get(winner.key, 0) + 1
        if taken[winner.key] >= winner.free:
            del pool[index], costs[index]
        else:
            costs[index] = cost(request, winner, taken[winner.key], peers, settings)
    return taken


def _spread(
    request: Request, fitting: Sequence[Candidate], peers: Peers, settings: PlacementSettings
) -> dict[str, int]:
    """Return one slot on each different device that a job lacks: of other nodes first, best first.

    Where all are busy it queues at them all the same: without them nothing of the job is done.
    """
    if request.places < 2:  # noqa: PLR2004 - plain work goes anywhere
        return {}
    nodes = {key.partition("/")[0] for key in request.held}
    left = [each for each in fitting if each.key not in request.held]
    taken: dict[str, int] = {}
    for _ in range(min(request.slots, request.places - len(request.held))):
        if not left:
            break
        best = min(
            left,
            key=lambda each: (
                each.node in nodes,
                each.free < 1,
                cost(request, each, 0, peers, settings),
                each.key,
            ),
        )
        left.remove(best)
        nodes.add(best.node)
        taken[best.key] = 1
    return taken


def _draw(costs: list[float], settings: PlacementSettings, rng: Entropy) -> int:
    """Return the better of two random candidates among those near the best."""
    bar = min(costs) * settings.near_best
    near = [index for index, each in enumerate(costs) if each <= bar]
    first, second = near[rng.randrange(len(near))], near[rng.randrange(len(near))]
    return min((costs[first], first), (costs[second], second))[1]
