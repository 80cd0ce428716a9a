"""Tabs: what a job has used so far on each device, as the benches tell; kept with its record."""

import math
from typing import Any

import msgspec

from qallow_agent.base.ids import NodeId
from qallow_agent.base.joules import Joules, total, unknown_joules
from qallow_agent.jobs.messages import JobEnergy, Lease
from qallow_agent.jobs.model import EnergyTab, JobRecord

_MOST_TABS = 1_024
_LONGEST_ACCOUNT = 64

Tabs = tuple[EnergyTab, ...]


def expect(tabs: Tabs, lease: Lease) -> Tabs:
    """Return the tabs with an open one for a lease that was just taken."""
    place = (lease.node, lease.device)
    if any((tab.node, tab.device) == place and not tab.settled for tab in tabs):
        return tabs
    return (*tabs, EnergyTab(*place, f"{lease.node_name}/{lease.device}"))[-_MOST_TABS:]


def find(tabs: Tabs, node: NodeId, message: JobEnergy) -> EnergyTab | None:
    """Return the tab that a message is about; one that is opened for it when a bench restarted.

    None when the job never had a lease there.
    """
    known = [tab for tab in tabs if (tab.node, tab.device) == (node, message.device)]
    for tab in known:
        if tab.account in (message.account, ""):
            return tab
    if not known:
        return None
    return EnergyTab(node, message.device, known[0].place)


def used(record: JobRecord, *, over: bool) -> Joules | None:
    """Return what a job has used, all in all; None when it never had a device.

    A job that is over and has pending tabs used more than is known: their benches died, or are
    about to tell the rest.
    """
    if not record.energy:
        return None
    whole = total(tab.joules for tab in record.energy)
    missing = pending(record)
    if over and missing:
        whole = unknown_joules(f"{missing[0]} has not told all that it used").plus(whole)
    return whole


def pending(record: JobRecord) -> tuple[str, ...]:
    """Return the devices of which more joules may be told."""
    return tuple(
        tab.place for tab in record.energy if not tab.settled and tab.joules.provenance != "unknown"
    )


def describe(record: JobRecord, *, over: bool) -> dict[str, Any] | None:
    """Return what a job has used as a document; None when it never had a device."""
    whole = used(record, over=over)
    if whole is None:
        return None
    return whole.document() | {"pending": list(pending(record))}


def put(tabs: Tabs, before: EnergyTab, tab: EnergyTab) -> Tabs:
    """Return the tabs with one replaced; a settled one takes in the settled ones of its device."""
    rest = [each for each in tabs if each is not before]
    same = [each for each in rest if (each.node, each.device) == (tab.node, tab.device)]
    for each in same if tab.settled else ():
        if each.settled:
            rest.remove(each)
            tab = msgspec.structs.replace(
                tab,
                joules=each.joules.plus(tab.joules),
                ops=each.ops + tab.ops,
                busy_s=each.busy_s + tab.busy_s,
            )
    return (*rest, tab)[-_MOST_TABS:]


def doubt(before: EnergyTab | None, message: JobEnergy) -> str:
    """Return what is wrong with a message; empty when nothing is."""
    if before is None:
        return "the job had no lease there"
    if before.settled:
        return "that account was settled before"
    numbers = (message.ops, message.busy_s)
    if not message.joules.sound() or any(not 0 <= each < math.inf for each in numbers):
        return "the numbers are out of range"
    if not 0 < len(message.account) <= _LONGEST_ACCOUNT:
        return "the account has no name, or a long one"
    shrank = (
        message.joules.gross_j < before.joules.gross_j
        or message.ops < before.ops
        or message.busy_s < before.busy_s
    )
    return "what was used cannot shrink" if shrank else ""
