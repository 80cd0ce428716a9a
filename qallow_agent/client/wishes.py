"""How work wants to be run: options by name, made one :class:`JobOptions`."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import msgspec

from qallow_agent.base.errors import UsageError
from qallow_agent.base.units import parse_duration
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.kernels.spec import Parameter

DEFAULTS = JobOptions()


class Wishes(TypedDict, total=False):
    """Options by name; what is left out, or None, stays as ``options`` says.

    Keys:
        deadline: Seconds, or text such as ``"2s"``, by which it must be done.
        start_within: The same, for the wait for a first runner.
        retries: Times a task is run again after its executor was lost.
        device: ``any``, a kind (``cpu``, ``gpu``) or ``node-name/device-name``.
        prefer: ``latency``, ``throughput`` or ``energy``.
        priority: Higher first.
        idempotency_key: Submitting again under the same key returns the same job's results.
        retain: Keep the results at the agent for later.
        max_joules: Gross joules that the job may use; single evaluations with equal options share
            a job, and so a budget.
        verify: Run each task on so many different devices, 2 or 3, and deliver only answers that
            most of them give alike.
        data_class: What kind of data it works on: a policy's zones admit some classes only.
        checkpoint_every: Ticks between the states of a long run that are kept; retains the job.
    """

    deadline: float | str | None
    start_within: float | str | None
    retries: int | None
    device: str | None
    prefer: str | None
    priority: int | None
    idempotency_key: str | None
    retain: bool | None
    max_joules: float | None
    verify: int | None
    data_class: str | None
    checkpoint_every: int | None


NAMES = frozenset(Wishes.__annotations__)
_SECONDS = {"deadline": "deadline_s", "start_within": "start_s"}
_TYPES: dict[str, tuple[type, ...]] = {
    "retries": (int,), "priority": (int,), "checkpoint_every": (int,), "verify": (int,),
    "max_joules": (int, float), "retain": (bool,),
    "device": (str,), "prefer": (str,), "idempotency_key": (str,), "data_class": (str,),
}  # fmt: skip
_WORDS = {
    "retries": "a whole number", "priority": "a whole number",
    "checkpoint_every": "a whole number", "max_joules": "a number",
    "retain": "True or False", "device": "a text", "prefer": "a text", "idempotency_key": "a text",
    "verify": "1, 2 or 3",
    "data_class": "a text",
}  # fmt: skip


def take_wishes(
    options: JobOptions | None, given: dict[str, Any], declared: Iterable[Parameter] = ()
) -> JobOptions:
    """Return options with what a caller wishes by name, and take that out of ``given``.

    A job with an idempotency key is retained: the same key must find its results again. Where a
    kernel's parameter is called like an option, the name means the parameter once there are
    ``options``, and is refused without.

    Args:
        options: What holds where nothing is wished.
        given: Parameters and wishes by name.
        declared: The kernel's parameters, as far as they are known.

    Raises:
        UsageError: A wish is of the wrong type, a time is not above 0, or a name means two things.
        ConfigError: A text is no duration.
    """
    wishes = frozenset[str]() if NAMES.isdisjoint(given) else _wished(options, given, declared)
    options = options or DEFAULTS
    if not wishes:
        return options if options.retain or not _lasting(options) else retained(options)
    changes: dict[str, Any] = {}
    for name in sorted(wishes):
        value = given.pop(name)
        if value is None:
            continue
        if name in _SECONDS:
            changes[_SECONDS[name]] = _seconds(name, value)
        elif isinstance(value, _TYPES[name]) and (name == "retain" or not isinstance(value, bool)):
            changes[name] = value
        else:
            raise UsageError(
                f"the option {name} = {value!r} is of the wrong type", hint=f"give {_WORDS[name]}"
            )
    options = msgspec.structs.replace(options, **changes)
    return _same(retained(options) if _lasting(options) else options)


def _lasting(options: JobOptions) -> bool:
    """Return whether somebody will come back for what is retained."""
    return bool(options.idempotency_key) or options.checkpoint_every > 0


def retained(options: JobOptions) -> JobOptions:
    """Return equal options with ``retain``."""
    return msgspec.structs.replace(options, retain=True)


@functools.lru_cache(maxsize=256)
def without_deadline(options: JobOptions) -> JobOptions:
    """Return equal options without a deadline, the same object each time."""
    return msgspec.structs.replace(options, deadline_s=0.0)


def _wished(
    options: JobOptions | None, given: Mapping[str, Any], declared: Iterable[Parameter]
) -> frozenset[str]:
    """Return which names are wishes, and no parameters of the kernel."""
    wishes = NAMES & given.keys()
    both = wishes & {parameter.name for parameter in declared}
    if both and options is None:
        raise UsageError(
            f"{min(both)!r} is an option and a parameter of this kernel",
            hint="give options together, as options=JobOptions(...): then it is the parameter",
        )
    return wishes - both


@functools.lru_cache(maxsize=256)
def _same(options: JobOptions) -> JobOptions:
    """Return one object for all equal options: submissions are pooled by it."""
    return options


def _seconds(name: str, value: float | str) -> float:
    seconds = parse_duration(value)
    if not seconds > 0:
        raise UsageError(f"{name} = {value!r} is no time to wait", hint="give more than 0 seconds")
    return seconds
