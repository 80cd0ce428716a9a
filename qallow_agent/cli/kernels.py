"""``kernels ls|info|test|bench``: what can be run, with which parameters, how right, how fast."""

from dataclasses import dataclass
from typing import Any

import click

from qallow_agent.base.units import show_bytes
from qallow_agent.cli.options import config_option, json_option
from qallow_agent.cli.output import emit, note, pairs, table
from qallow_agent.cli.trials import bench, test
from qallow_agent.config.load import load_settings
from qallow_agent.kernels.backends import device_kinds
from qallow_agent.kernels.registry import Catalog, Entry, load_catalog
from qallow_agent.kernels.spec import KernelSpec, Output, Parameter


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kernel says of one parameter: its dtype (``f4``, ``i8``, ``b1``) and its rank."""

    dtype: str
    rank: int = 0


@click.group()
def kernels() -> None:
    """List, describe, test and measure the kernels that are installed here."""


kernels.add_command(test)
kernels.add_command(bench)


@kernels.command("ls", epilog="Example: qallow-agent kernels ls --json")
@config_option
@json_option
def list_(files: tuple[str, ...], as_json: bool) -> None:
    """List the kernels that are installed here."""
    catalog = open_catalog(files)
    found = [_summary(catalog.entry(name)) for name in catalog.names]
    if as_json:
        emit(
            "qallow.kernels/v1", {"kernels": found, "skipped": [t.facts for t in catalog.troubles]}
        )
        return
    table(
        ("NAME", "VERSION", "HASH", "DEVICES", "WHAT IT COMPUTES"),
        [
            (item["name"], str(item["version"]), item["hash"][:12], ", ".join(item["devices"]),
             item["doc"].partition(".")[0])
            for item in found
        ],
        empty="no kernel is installed",
        wrap=True,
    )  # fmt: skip
    for trouble in catalog.troubles:
        note(f"skipped {trouble.facts.get('kernel')}: {trouble.facts.get('why')}")


@kernels.command(epilog="Example: qallow-agent kernels info harmonic")
@click.argument("name")
@config_option
@json_option
def info(name: str, files: tuple[str, ...], as_json: bool) -> None:
    """Describe one kernel: its parameters, outputs and cost."""
    entry = open_catalog(files).entry(name)
    spec = entry.kernel.spec
    if as_json:
        emit("qallow.kernel/v1", _summary(entry) | _details(spec))
        return
    click.echo(" ".join(spec.doc.split()))
    pairs([("version", str(spec.version)), ("hash", entry.hash), ("from", entry.origin)])
    click.echo()
    table(
        ("PARAMETER", "TYPE", "DEFAULT", "BOUNDS", "WHAT IT IS"),
        [_parameter(parameter) for parameter in spec.parameters],
        empty="no parameters",
        wrap=True,
    )
    click.echo()
    table(
        ("OUTPUT", "TYPE", "WHAT IT IS"),
        [(output.name, _type(output), output.doc) for output in spec.outputs],
        empty="no outputs",
        wrap=True,
    )
    cost = _cost(spec)
    if cost:
        click.echo(
            f"\na point with the defaults: {cost['ops']:,.0f} {spec.op}s, "
            f"{show_bytes(cost['memory_bytes'])}"
        )


def open_catalog(files: tuple[str, ...] = ()) -> Catalog:
    """Return the kernels that an agent with this configuration would offer."""
    settings = load_settings(files).settings.kernels
    return load_catalog(settings.modules, settings.disabled)


def parameter_shapes(spec: KernelSpec) -> dict[str, Shape]:
    """Return what a kernel takes, as the command line's parser wants it."""
    return {
        parameter.name: Shape(parameter.dtype, len(parameter.shape))
        for parameter in spec.parameters
    }


def _summary(entry: Entry) -> dict[str, Any]:
    spec = entry.kernel.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "hash": entry.hash,
        "origin": entry.origin,
        "devices": list(device_kinds(entry.kernel)),
        "doc": " ".join(spec.doc.split()),
    }


def _details(spec: KernelSpec) -> dict[str, Any]:
    return {
        "parameters": [
            {
                "name": item.name,
                "dtype": item.dtype,
                "shape": list(item.shape),
                "default": item.default,
                "ge": item.ge,
                "le": item.le,
                "unit": item.unit,
                "sweepable": item.sweepable,
                "doc": item.doc,
            }
            for item in spec.parameters
        ],
        "outputs": [
            {
                "name": item.name,
                "dtype": item.dtype,
                "shape": list(item.shape),
                "unit": item.unit,
                "doc": item.doc,
            }
            for item in spec.outputs
        ],
        "op": spec.op,
        "step": spec.step,
        "cost": _cost(spec),
    }


def _cost(spec: KernelSpec) -> dict[str, float]:
    """Return the demand of one point with the defaults; nothing when a parameter is required."""
    if any(item.shape or item.default is None for item in spec.parameters):
        return {}
    demand = spec.demand(spec.validate({}))
    return {"ops": demand.ops, "memory_bytes": demand.memory_bytes}


def _parameter(parameter: Parameter) -> tuple[str, ...]:
    default = "required" if parameter.default is None else str(parameter.default)
    unit = f" {parameter.unit}" if parameter.unit else ""
    return (parameter.name, _type(parameter), default, parameter.bounds + unit, parameter.doc)


def _type(item: Parameter | Output) -> str:
    axes = ", ".join(str(axis) for axis in item.shape)
    return f"{item.dtype}[{axes}]" if axes else item.dtype
