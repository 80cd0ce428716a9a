"""``kernels test|bench``: try the kernels on the devices of this machine; no agent is needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from qallow_agent.base.errors import EXIT_FAILED, EXIT_OK, DeviceError
from qallow_agent.base.units import show_joules
from qallow_agent.cli.options import config_option, duration, json_option
from qallow_agent.cli.output import emit, note, table
from qallow_agent.config.load import load_settings
from qallow_agent.kernels.backends import device_kinds
from qallow_agent.kernels.registry import Catalog, load_catalog

if TYPE_CHECKING:
    from qallow_agent.config.schema import Settings
    from qallow_agent.mesh.wire.kinds import DeviceAdvert
    from qallow_agent.runtime.trial import Verdict

Command = TypeVar("Command", bound=Callable[..., Any])

BENCH_S = 2.0
_ROUNDS_UP = 999.5
"""Three digits of anything from here on are 1000."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One kernel on one device, and how it went."""

    kernel: str
    step: str
    device: str
    verdict: "Verdict"

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return bool(self.verdict.why)


def on_devices(function: Command) -> Command:
    """Give a command an optional kernel, ``--device``, ``--config`` and ``--json``."""
    device = click.option(
        "--device", metavar="DEVICE", help="Only this device, or all of a kind: cpu, cuda, gpu0."
    )
    kernel = click.argument("name", required=False)
    return kernel(device(config_option(json_option(function))))


@click.command(
    epilog="Exit code: 0 all is right, 1 otherwise. Example: qallow-agent kernels test --device cpu"
)
@on_devices
def test(name: str | None, device: str | None, files: tuple[str, ...], as_json: bool) -> int:
    """Compare kernels with their known answers and with their reference."""
    found = list(attempts(name, device, files, 0.0))
    if as_json:
        emit("qallow.kernels.test/v1", {"trials": [_tested(trial) for trial in found]})
    else:
        table(
            ("KERNEL", "DEVICE", "BACKEND", "STATE", "MAX ERROR"),
            [
                (each.kernel, each.device, each.verdict.backend or "-",
                 "failed" if each.failed else "ok", _error(each.verdict))
                for each in found
            ],
            empty="no kernel is installed",
        )  # fmt: skip
        _complain(found)
    return EXIT_FAILED if any(trial.failed for trial in found) else EXIT_OK


@click.command(epilog="Example: qallow-agent kernels bench elasticity --seconds 5s")
@on_devices
@click.option(
    "--seconds", type=duration, metavar="DURATION", default=BENCH_S,
    help="Measure each kernel for so long; joules need 1s. [default: 2s]",
)  # fmt: skip
def bench(
    name: str | None, device: str | None, files: tuple[str, ...], as_json: bool, seconds: float
) -> int:
    """Measure how fast kernels are, and how much of the machine they use."""
    found = list(attempts(name, device, files, max(seconds, 1e-3)))
    if as_json:
        emit("qallow.kernels.bench/v1", {"trials": [_tested(each) | _sped(each) for each in found]})
    else:
        table(
            ("KERNEL", "DEVICE", "THREADS", "OPS/S", "STEPS/S", "SHARE", "MAX ERROR", "PER OP"),
            [_row(each) for each in found],
            empty="no kernel is installed",
        )
        steps = dict.fromkeys(f"{each.step} ({each.kernel})" for each in found)
        note(f"steps: {', '.join(steps)}; share: of the best this machine can do")
        if any(each.verdict.ops_per_s > (each.verdict.bound_per_s or inf) for each in found):
            note("a share above 100%: the limit was measured beside other work; try it again alone")
        _complain(found)
        for reason in dict.fromkeys(
            f"{each.device}: joules unknown: {each.verdict.energy.why}"
            for each in found
            if each.verdict.ops_per_s and each.verdict.energy.value is None
        ):
            note(reason)
    return EXIT_FAILED if any(trial.failed for trial in found) else EXIT_OK


def attempts(
    name: str | None, wanted: str | None, files: tuple[str, ...], seconds: float
) -> Iterator[Trial]:
    """Try the kernels on the devices, one after another.

    Args:
        name: The kernel; None for all.
        wanted: A device, or a kind of devices; None for all that can be used.
        files: Configuration, as for the agent.
        seconds: How long to measure each; 0 to test only.

    Raises:
        UnknownKernel: No such kernel is installed here.
        DeviceError: No such device, or it cannot be used: the hint says why.
    """
    from qallow_agent.runtime.trial import Order, attempt  # noqa: PLC0415 - brings psutil

    settings = load_settings(files).settings
    catalog = load_catalog(settings.kernels.modules, settings.kernels.disabled)
    for trouble in catalog.troubles:
        note(f"skipped {trouble.facts.get('kernel')}: {trouble.facts.get('why')}")
    names = [catalog.get(name).spec.name] if name else catalog.names
    for device in usable(settings, catalog, wanted):
        for each in names:
            kernel = catalog.get(each)
            if device.kind not in device_kinds(kernel):
                continue
            order = Order(
                each, settings.kernels, device.name, device.kind, device.slots, seconds,
                settings.runners.import_paths,
            )  # fmt: skip
            yield Trial(each, kernel.spec.step, device.name, attempt(order))


def usable(settings: "Settings", catalog: Catalog, wanted: str | None) -> "list[DeviceAdvert]":
    """Return the devices that were asked for and can compute.

    Raises:
        DeviceError: There is none.
    """
    from qallow_agent.mesh.wire.kinds import DeviceState  # noqa: PLC0415 - not needed to list
    from qallow_agent.runtime.trial import devices_here  # noqa: PLC0415 - brings psutil

    kinds = tuple(dict.fromkeys(kind for each in catalog.adverts() for kind in each.backends))
    here, no_gpu = devices_here(settings.devices, kinds)
    asked = [device for device in here if wanted in (None, device.name, device.kind)]
    unfit = {DeviceState.LOST, DeviceState.QUARANTINED}
    well = [device for device in asked if device.slots and device.state not in unfit]
    left_out = [f"{each.name}: {each.why}; {each.fix}" for each in asked if each not in well]
    if not well:
        known = ", ".join(f"{device.name} ({device.kind})" for device in here)
        missing = "" if len(here) > 1 else f"; {no_gpu.why}"
        raise DeviceError(
            f"no device {wanted or 'of any kind'} can be used here",
            hint="; ".join(left_out) or f"known: {known}{missing}",
        )
    for reason in left_out:
        note(f"left out {reason}")
    return well


def _tested(trial: Trial) -> dict[str, Any]:
    verdict = trial.verdict
    return {
        "kernel": trial.kernel,
        "device": trial.device,
        "backend": verdict.backend,
        "passed": not trial.failed,
        "why": verdict.why,
        "fix": verdict.fix,
        "max_error": verdict.error,
    }


def _sped(trial: Trial) -> dict[str, Any]:
    verdict = trial.verdict
    return {
        "threads": verdict.threads,
        "points": verdict.points,
        "ops_per_s": verdict.ops_per_s,
        "step": trial.step,
        "steps_per_s": verdict.steps_per_s,
        "bound_ops_per_s": verdict.bound_per_s,
        "energy": msgspec.to_builtins(verdict.energy),
        "joules_per_op": verdict.joules_per_op,
    }


def _row(trial: Trial) -> tuple[str, ...]:
    verdict = trial.verdict
    if trial.failed:
        return (trial.kernel, trial.device, "-", "failed", "-", "-", _error(verdict), "-")
    share = f"{verdict.ops_per_s / verdict.bound_per_s:.0%}" if verdict.bound_per_s else "-"
    spent = "-" if verdict.joules_per_op is None else show_joules(verdict.joules_per_op)
    return (
        trial.kernel, trial.device, str(verdict.threads or "-"), _show_rate(verdict.ops_per_s),
        _show_rate(verdict.steps_per_s) if verdict.steps_per_s else "-", share, _error(verdict),
        spent,
    )  # fmt: skip


def _error(verdict: "Verdict") -> str:
    return "-" if verdict.error is None else f"{verdict.error:.2g}"


def _show_rate(rate: float) -> str:
    """Return a rate with three digits and an SI prefix."""
    for prefix in ("", " k", " M", " G", " T"):
        if rate < _ROUNDS_UP:
            return f"{rate:.3g}{prefix}"
        rate /= 1000
    return f"{rate:.3g} P"


def _complain(found: list[Trial]) -> None:
    for trial in found:
        if trial.failed:
            note(f"{trial.kernel} on {trial.device} failed: {trial.verdict.why}")
            if trial.verdict.fix:
                note(f"  fix: {trial.verdict.fix}")
