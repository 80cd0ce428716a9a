"""Errors, sorted by whose fault they are.

Every deliberate error carries a stable ``code``, says whether the same call may succeed later
(``retryable``) and names the cheapest fix (``hint``). Bytes from a peer can raise only
:class:`PeerError`. One table at the end maps each class to its exit code and log level.
"""

import logging
from typing import Any, ClassVar


class QallowError(Exception):
    """Base of every deliberate error; never raised itself.

    Args:
        message: What went wrong, with the offending name and value.
        hint: The cheapest thing the reader can do about it.
        retryable: True when the same call may succeed later; default is the class's habit.
    """

    code: ClassVar[str] = "error"
    usually_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = self.usually_retryable if retryable is None else retryable
        self.document: dict[str, Any] = {}
        """What programs may read about it; JSON-shaped, empty when message and hint say all."""
        if hint:
            self.add_note(f"fix: {hint}")  # a traceback shows it too

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, which process pools do to exceptions, with the remote traceback."""
        made = (_rebuild, (type(self), self.message, self.hint, self.retryable))
        kept: dict[str, object] = {"document": self.document} if self.document else {}
        if isinstance(self.__cause__, RemoteTraceback):
            kept["__cause__"] = self.__cause__
        return (*made, kept) if kept else made  # any other cause may not pickle


def _rebuild(kind: type[QallowError], message: str, hint: str, retryable: bool) -> QallowError:  # noqa: FBT001
    return kind(message, hint=hint, retryable=retryable)


class RemoteTraceback(Exception):
    """Shows, as the cause of an error, the traceback on the machine where it was raised.

    Args:
        text: The traceback, as Python prints it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class UserError(QallowError):
    """The request cannot be served as asked; the caller's fault; no state changed."""

    code = "user"


class UsageError(UserError):
    """A command or call was malformed; the caller's fault; no state changed."""

    code = "usage"


class ConfigError(UserError):
    """A setting, key file or state directory is wrong; the operator's fault; nothing started."""

    code = "config"


class NotAllowed(UserError):
    """The caller's role does not permit this; the caller's fault; no state changed."""

    code = "not-allowed"


class AgentUnreachable(UserError):
    """No agent answers on the control socket; nobody's fault; no state changed."""

    code = "agent-unreachable"
    usually_retryable = True


class JobRejected(UserError):
    """A job was refused before it started; the submitter's fault; nothing ran."""

    code = "job-rejected"


class UnknownKernel(JobRejected):
    """No reachable device knows the kernel; the submitter's fault; nothing ran."""

    code = "unknown-kernel"


class BadParameter(JobRejected):
    """A parameter is missing, unknown, out of range or of the wrong type or shape; nothing ran."""

    code = "bad-parameter"


class NoDevice(JobRejected):
    """No device can take the job now; nothing ran."""

    code = "no-device"


class NeverFits(NoDevice):
    """No device known here could ever take the job as asked; nothing ran; waiting will not help."""

    code = "never-fits"


class NotAdmitted(JobRejected):
    """Every device that could run the job is closed to new work by its score; nothing ran."""

    code = "not-admitted"
    usually_retryable = True


class Forbidden(NotAdmitted):
    """The owners of every device that could run the job do not let it; nothing ran."""

    code = "forbidden"
    usually_retryable = False


class JobNotFound(UserError):
    """The job id is unknown here or past its retention; no state changed."""

    code = "job-not-found"


class JobFailed(QallowError):
    """A job ended without its results; state is kept for inspection."""

    code = "job-failed"


class JobCancelled(JobFailed):
    """A job was cancelled by its owner or an operator; finished tasks are kept."""

    code = "cancelled"


class DeadlineExceeded(JobFailed):
    """A wait or a job ran past its deadline; the rest of the job was cancelled."""

    code = "deadline"
    usually_retryable = True


class BudgetExceeded(JobFailed):
    """A job used more energy than it was allowed; the submitter's fault; its rest was cancelled."""

    code = "budget"


class PeerError(QallowError):
    """A peer misbehaved or vanished; the peer's fault; our state is unchanged."""

    code = "peer"


class WireError(PeerError):
    """Bytes from a peer break the protocol; they were dropped."""

    code = "wire"


class Malformed(WireError):
    """Bytes do not decode to any known shape; they were dropped."""

    code = "malformed"


class TooLarge(WireError):
    """A message exceeds its cap; it was dropped unread."""

    code = "too-large"


class VersionMismatch(WireError):
    """The peer speaks a protocol outside our range; the hint names the side to upgrade."""

    code = "version-mismatch"


class UnknownKind(WireError):
    """A well-formed message of a kind we do not know; counted and dropped."""

    code = "unknown-kind"


class BadSignature(WireError):
    """A signature, seal or certificate does not verify; the bytes were dropped."""

    code = "bad-signature"


class BadProof(WireError):
    """A proof about a log does not hold; nothing that depends on it was believed."""

    code = "bad-proof"


class Replayed(WireError):
    """A sealed datagram was seen before or is too old; it was dropped."""

    code = "replayed"


class JoinRefused(PeerError):
    """The mesh refused our invite; the hint says why and what to ask for."""

    code = "join-refused"


class PeerLost(PeerError):
    """A peer stopped answering while we depended on it; the work moves elsewhere."""

    code = "peer-lost"
    usually_retryable = True


class DeviceError(QallowError):
    """A device or the runner on it failed; the work moves or fails with this reason."""

    code = "device"


class DeviceLost(DeviceError):
    """A device or its runner vanished; unfinished tasks are re-run elsewhere."""

    code = "device-lost"
    usually_retryable = True


class DeviceMemory(DeviceError):
    """A task needs more memory than the device or its limit allows; only that task failed."""

    code = "device-memory"


class KernelFailed(DeviceError):
    """A kernel raised, crashed its runner twice or answered nonsense; only that task failed."""

    code = "kernel-failed"


class StorageError(QallowError):
    """The state directory failed us; what was promised durable may not be; we say so and stop."""

    code = "storage"


class StorageFull(StorageError):
    """No space is left for state; nothing was half-written; retry after freeing space."""

    code = "storage-full"
    usually_retryable = True


class StorageCorrupt(StorageError):
    """A state file does not decode; it was left untouched for inspection."""

    code = "storage-corrupt"


class CheckpointCorrupt(StorageError):
    """A checkpoint does not decode or its hash differs; an older one or a restart serves."""

    code = "checkpoint-corrupt"


class InvariantBroken(QallowError):
    """Our own bug: an always-true property was false; state is dumped and the process stops."""

    code = "bug"


EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_BUG = 70
EXIT_TRY_LATER = 75
EXIT_NOT_ALLOWED = 77
EXIT_CONFIG = 78

BLAME: dict[type[QallowError], tuple[int, int]] = {
    UserError: (EXIT_USAGE, logging.INFO),
    UsageError: (EXIT_USAGE, logging.INFO),
    ConfigError: (EXIT_CONFIG, logging.ERROR),
    NotAllowed: (EXIT_NOT_ALLOWED, logging.WARNING),
    AgentUnreachable: (EXIT_UNREACHABLE, logging.INFO),
    JobRejected: (EXIT_USAGE, logging.INFO),
    UnknownKernel: (EXIT_USAGE, logging.INFO),
    BadParameter: (EXIT_USAGE, logging.INFO),
    NoDevice: (EXIT_TRY_LATER, logging.WARNING),
    NeverFits: (EXIT_USAGE, logging.WARNING),
    NotAdmitted: (EXIT_TRY_LATER, logging.WARNING),
    Forbidden: (EXIT_NOT_ALLOWED, logging.WARNING),
    JobNotFound: (EXIT_USAGE, logging.INFO),
    JobFailed: (EXIT_FAILED, logging.WARNING),
    JobCancelled: (EXIT_FAILED, logging.INFO),
    DeadlineExceeded: (EXIT_TRY_LATER, logging.WARNING),
    BudgetExceeded: (EXIT_FAILED, logging.WARNING),
    PeerError: (EXIT_FAILED, logging.WARNING),
    WireError: (EXIT_FAILED, logging.WARNING),
    Malformed: (EXIT_FAILED, logging.WARNING),
    TooLarge: (EXIT_FAILED, logging.WARNING),
    VersionMismatch: (EXIT_FAILED, logging.WARNING),
    UnknownKind: (EXIT_FAILED, logging.INFO),
    BadSignature: (EXIT_FAILED, logging.WARNING),
    BadProof: (EXIT_FAILED, logging.WARNING),
    Replayed: (EXIT_FAILED, logging.WARNING),
    JoinRefused: (EXIT_NOT_ALLOWED, logging.ERROR),
    PeerLost: (EXIT_TRY_LATER, logging.WARNING),
    DeviceError: (EXIT_FAILED, logging.ERROR),
    DeviceLost: (EXIT_TRY_LATER, logging.ERROR),
    DeviceMemory: (EXIT_FAILED, logging.WARNING),
    KernelFailed: (EXIT_FAILED, logging.WARNING),
    StorageError: (EXIT_FAILED, logging.ERROR),
    StorageFull: (EXIT_TRY_LATER, logging.ERROR),
    StorageCorrupt: (EXIT_CONFIG, logging.ERROR),
    CheckpointCorrupt: (EXIT_FAILED, logging.ERROR),
    InvariantBroken: (EXIT_BUG, logging.CRITICAL),
}
"""Class -> (exit code, log level); total over every subclass of QallowError but the base."""

BY_CODE: dict[str, type[QallowError]] = {kind.code: kind for kind in BLAME}
"""Stable code -> class, so that an error survives the wire as (code, message, hint)."""


def revive(code: str, message: str, *, hint: str = "", retryable: bool = False) -> QallowError:
    """Return the error that a peer or agent described by its stable code.

    An unknown code becomes :class:`PeerError` that names it, so newer peers stay readable.
    """
    kind = BY_CODE.get(code)
    if kind is None:
        return PeerError(f"{message} (unknown error code {code!r})", hint=hint, retryable=retryable)
    return kind(message, hint=hint, retryable=retryable)
