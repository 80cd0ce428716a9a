"""The floor: every device's runners, from start to exit, and the leases they are under.

Every runner is in one phase, and every phase has a limit after which the floor acts: a runner
that does not get ready, ends no canary, or does not stop when told, is killed and, if even that
is not confirmed, forgotten.
"""

from collections.abc import Mapping, Sequence

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Entropy, LeaseId, RunnerId, draw_id, runner
from qallow_agent.base.machine import Announce, Effect, Instant, Reply, Send, Start, Stop
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.agenda import Agenda
from qallow_agent.jobs.messages import (
    BenchChanged,
    CanaryDone,
    Forbid,
    LeaseRefusal,
    LeaseRevoked,
    RunCanary,
    RunnerBusy,
    RunnerExited,
    RunnerReady,
    RunnerTally,
)
from qallow_agent.jobs.model import BenchDevice, DeviceHealth, KernelOffer, LeaseEnd
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.workplace import Phase, Station, Tenancy, Waiting, Workplace
