"""A watch: reads devices in a daemon thread, since drivers that lost a board hang for minutes."""

import threading
import time
from dataclasses import replace

from msgspec import structs

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.kinds import DeviceState
from qallow_agent.runtime.sensing.muster import NOBODY, Clock, DeviceReader, Muster

START_S: Seconds = 30.0
"""A driver may take seconds for its first answer; one that takes longer is told of."""
_JOIN_S = 1.0


class Watch:
    """Reads again and again, and hands over what was seen last; its owner never waits.

    Args:
        reader: What reads.
        what: Who has not answered when it hangs, for people: ``"the NVIDIA driver"``.
        period_s: How often to read while there are devices.
        rest_s: How often to read while there are none.
        hung_s: Devices that were not seen for this long are lost.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reader: DeviceReader,
        what: str,
        *,
        period_s: Seconds,
        rest_s: Seconds,
        hung_s: Seconds,
        clock: Clock = time.monotonic,
    ) -> None:
        self._reader = reader
        self._what = what
        self._period_s = period_s
        self._rest_s = rest_s
        self._hung_s = hung_s
        self._clock = clock
        self._seen: Muster | None = None
        self._started_s: Seconds = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def latest(self) -> Muster:
        """Return what was seen last; devices are lost when nothing was seen for a while."""
        now_s = self._clock()
        if self._thread is None:
            self._started_s = now_s
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        if self._seen is None:
            waited_s = now_s - self._started_s
            return NOBODY if waited_s < START_S else Muster(complaints=(self._silent(waited_s),))
        muster = self._seen
        silent_s = now_s - muster.read_s
        if silent_s <= (self._hung_s if muster.devices else self._rest_s + self._hung_s):
            return muster
        silent = self._silent(silent_s)
        lost = tuple(
            structs.replace(
                device,
                state=DeviceState.LOST if device.slots else device.state,
                why=silent.why,
                fix=silent.fix,
                readings={},
                throttle=(),
            )
            for device in muster.devices
        )
        return Muster(lost, muster.faults, () if lost else (silent,), muster.read_s)

    def close(self) -> None:
        """Stop watching; a thread that hangs in a driver is left behind."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _silent(self, silent_s: Seconds) -> Complaint:
        return Complaint(
            f"{self._what} has not answered for {silent_s:.0f} s",
            "'dmesg' shows a hung driver; a reboot helps when nothing else does",
        )

    def _run(self) -> None:
        while not self._closed.is_set():
            muster = replace(self._reader.read(), read_s=self._clock())
            self._seen = muster
            self._closed.wait(self._period_s if muster.devices else self._rest_s)
        self._reader.close()
