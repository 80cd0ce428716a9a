"""The cashier: takes in what benches say of their energy, and keeps jobs to their budget."""

import msgspec

from qallow_agent.base.ids import NodeId, Sender, is_local
from qallow_agent.base.joules import Joules, total
from qallow_agent.base.machine import Announce, Effect, Instant
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.local import EnergyCharged
from qallow_agent.jobs.messages import JobEnergy
from qallow_agent.jobs.model import EnergyTab, JobEvent, JobRecord
from qallow_agent.jobs.roster import Roster
from qallow_agent.jobs.tabs import doubt, find, put


class Cashier:
    """Takes in what benches say of their energy, and ends jobs that use too much of it.

    Args:
        roster: The jobs.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def charge(self, sender: Sender, message: JobEnergy, now: Instant) -> list[Effect]:
        """Take in what a job has used on one device of the sender."""
        live = self._roster.live.get(message.job)
        record = self._roster.archive.get(message.job) if live is None else live.record
        if record is None or is_local(sender):
            return []
        node = NodeId(sender)
        before = find(record.energy, node, message)
        why = doubt(before, message)
        if why or before is None:
            facts: dict[str, str | int | float | bool | None] = {
                "job": message.job, "node": node, "device": message.device, "why": why,
            }  # fmt: skip
            return [Notice("energy.doubtful", "joules were not believed", "warning", facts)]
        tab = msgspec.structs.replace(
            before,
            account=message.account,
            joules=message.joules,
            ops=message.ops,
            busy_s=message.busy_s,
            settled=message.settled,
        )
        record = msgspec.structs.replace(record, energy=put(record.energy, before, tab))
        effects: list[Effect] = [_charged(record, before, tab)]
        if live is None:
            return effects + self._roster.archive.amend(record, durable=message.settled)
        live.record = record
        budget_j = record.options.max_joules
        used = total(each.joules for each in record.energy)
        if 0 < budget_j < used.gross_j:
            why = f"it used {used.gross_j:.4g} J, {budget_j:.4g} J were allowed"
            hint = "raise max_joules, or do fewer points at a time"
            effects += self._roster.end(live, JobEvent.FAILED, "budget", why, hint, now)
        return effects


def _charged(record: JobRecord, before: EnergyTab, tab: EnergyTab) -> Announce:
    """Return the fact of what was added."""
    new, old = tab.joules, before.joules
    grown = Joules(
        new.gross_j - old.gross_j,
        new.net_j - old.net_j,
        new.low_j - old.low_j,
        new.high_j - old.high_j,
        new.provenance,
        new.why,
    )
    return Announce(
        EnergyCharged(
            record.kernel, tab.place, grown, tab.ops - before.ops, tab.busy_s - before.busy_s
        )
    )
