"""The router: filter, score, draw by power of two choices, and explain.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): the better
of two random candidates is nearly as good as the best and does not herd on stale information.
"""

from collections.abc import Sequence

from qallow_agent.base.ids import Entropy
from qallow_agent.placement.cost import gather
from qallow_agent.placement.deal import deal
from qallow_agent.placement.limits import Refusal, fits_wish, refusal
from qallow_agent.placement.request import Allotment, Candidate, Decision, Request, Verdict
from qallow_agent.placement.score import cost, explain
from qallow_agent.placement.settings import PlacementSettings

_CLOSED = ("refuses", "forbids")


def choose(
    request: Request,
    candidates: Sequence[Candidate],
    settings: PlacementSettings,
    rng: Entropy,
) -> Decision:
    """Return which devices to ask for how many slots, with a verdict on every candidate.

    Free slots are given out one by one, each to the better of two random candidates near the
    best; a device that fills up grows worse, so slots spread in proportion to free capacity. A job
    whose tasks run on several devices first gets one slot on each that it lacks.
    When every fitting device is busy, one slot is asked for all the same: benches queue briefly
    and share by turns.

    Args:
        request: What is wanted.
        candidates: Every device of every live member.
        settings: Assumptions where nothing was measured.
        rng: Entropy for the draws.
    """
    fitting, refused = sift(request, candidates, settings)
    peers = gather(candidate for candidate in candidates if request.kernel in candidate.kernels)
    if not fitting:
        return _nothing(request, refused, _out(refused))
    taken = deal(request, fitting, peers, settings, rng)
    words = {each.key: explain(request, each, peers, settings) for each in fitting}
    choices = tuple(
        Allotment(each.node, each.device, taken[each.key], words[each.key], cold=_is_cold(each))
        for each in fitting
        if taken.get(each.key)
    )
    priced = [(cost(request, each, 0, peers, settings), each) for each in fitting]
    return Decision(choices, (*_in(priced, taken, words, settings), *_out(refused)))


def sift(
    request: Request, candidates: Sequence[Candidate], settings: PlacementSettings
) -> tuple[list[Candidate], list[tuple[Candidate, Refusal]]]:
    """Return who fits, and who does not and why; both in the order of their keys."""
    fitting: list[Candidate] = []
    refused: list[tuple[Candidate, Refusal]] = []
    for candidate in sorted(candidates, key=lambda each: each.key):
        against = refusal(request, candidate, settings)
        if against is None:
            fitting.append(candidate)
        else:
            refused.append((candidate, against))
    return fitting, refused


def _is_cold(candidate: Candidate) -> bool:
    return candidate.state != "warming" and candidate.warm < 1 <= candidate.free


def _in(
    priced: list[tuple[float, Candidate]],
    taken: dict[str, int],
    words: dict[str, str],
    settings: PlacementSettings,
) -> list[Verdict]:
    """Return the verdicts on those that fit, best first, with what keeps each from being chosen."""
    ranked = sorted(priced, key=lambda pair: (pair[0], pair[1].key))
    best = ranked[0][0]
    found: list[Verdict] = []
    for price, each in ranked:
        slots = taken.get(each.key, 0)
        change = "" if slots else _missing(price, best, each, settings)
        found.append(Verdict(each.label, price, words[each.key], slots=slots, change=change))
    return found


def _missing(price: float, best: float, candidate: Candidate, settings: PlacementSettings) -> str:
    """Return what a candidate that fits and was not chosen lacks."""
    if candidate.free < 1:
        return "all of its slots are busy: it is chosen once one is free"
    if price > best * settings.near_best:
        times = f"{price / best:.3g}" if best > 0 else "many"
        return (
            f"costs {times} times the best; up to {settings.near_best:g} times are drawn from "
            "(placement.near_best), or when the better ones are busy"
        )
    return "as good as those chosen: the draw fell on others"


def _out(refused: list[tuple[Candidate, Refusal]]) -> tuple[Verdict, ...]:
    return tuple(
        Verdict(each.label, None, against.why, against.lasting, change=against.change)
        for each, against in refused
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
    node, _, named = request.device.partition("/")
    unheard = named and not any(
        node in {candidate.node_name, candidate.node} for candidate, _ in refused
    )
    never = not unheard and all(against.lasting for _, against in refused)
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
        denied=_denied([against for _, against in wanted]),
        closed=_nearest(wanted),
    )


def _denied(against: list[Refusal]) -> str:
    """Return what gates say when nothing but them is in the way; empty when waiting may help."""
    gates = [each.gate for each in against if not each.lasting]
    if not gates or any(gate not in _CLOSED for gate in gates):
        return ""
    return "refuses" if "refuses" in gates else "forbids"


def _nearest(against: list[tuple[Candidate, Refusal]]) -> str:
    closed = [candidate for candidate, _ in against if candidate.gate]
    return max(closed, key=lambda each: (each.e or 0, -each.rtt_s, each.key)).key if closed else ""


def _hint(request: Request, against: list[Refusal], *, never: bool) -> str:
    shut = [each for each in against if each.gate]
    if shut and not never:
        return shut[0].change
    if not never:
        return "see: qallow-agent devices; a job may wait longer with --start-within"
    if any("version" in each.why for each in against):
        return "install the same release of the kernel on every node"
    if any("a task needs" in each.why for each in against):
        return "make the task smaller or add a node with more memory"
    if request.device != "any":
        return "choose another device or leave it to the mesh: device=any"
    return f"install a kernel package that offers {request.kernel} on a node"
