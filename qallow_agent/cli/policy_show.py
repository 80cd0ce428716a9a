"""How people see a policy: who says what, and what does not count right now."""

from datetime import datetime
from typing import Any

import click

from qallow_agent.cli.output import pairs, table


def say_policy(document: dict[str, Any]) -> None:
    """Print the policy in force, its exceptions first."""
    preset, threshold = document["preset"], document["threshold"]
    version = document["version"]
    rows = [
        ("policy", f"version {version}, {document['digest'][:16]}" if version else "built-in"),
        ("judged as", f"{preset['name']} (by {preset['from']})"),
        ("threshold", f"{threshold['value']:.3f} ({threshold['from']})"),
        ("consent", "yes" if document["consent"] else "no (owner)"),
    ]
    rows += [("quiet hours", f"{each['hours']} ({each['from']})") for each in document["quiet"]]
    rows += [("submit", _grant(each)) for each in document["submit"]]
    rows += [
        (f"zone {zone}", f"takes {', '.join(classes)} data")
        for zone, classes in document["zones"].items()
    ]
    rows += [
        (word, ", ".join(document[word])) for word in ("observe", "administer") if document[word]
    ]
    pairs(rows)
    click.echo()
    table(
        ("SIGNAL", "BAD", "GOOD", "UNIT", "STATE", "FROM", "NAME"),
        [_signal(each) for each in document["signals"]],
    )
    for line in exceptions(document):
        click.echo(click.style(line, fg="yellow"))


def exceptions(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that is not as usual: a pause, quiet hours, overrides."""
    lines = []
    pause = document.get("pause")
    if pause:
        until = "until resumed" if pause["until_s"] is None else f"until {moment(pause['until_s'])}"
        lines.append(f"paused {until}{_because(pause)}; end it: qallow-agent resume")
    if document.get("quiet_until_s"):
        lines.append(f"quiet hours until {moment(document['quiet_until_s'])}")
    lines += [
        f"{each['signal']} does not count until {moment(each['until_s'])} "
        f"({each['from']}){_because(each)}"
        for each in document.get("overrides", ())
    ]
    return lines


def moment(unix_s: float) -> str:
    """Return a moment on this machine's clock, to the minute."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _because(each: dict[str, Any]) -> str:
    return f": {each['why']}" if each.get("why") else ""


def _grant(each: dict[str, Any]) -> str:
    who, kernels, zones = (", ".join(each[key]) for key in ("who", "kernels", "zones"))
    return f"{who}: {kernels} in {zones} ({each['from']})"


def _signal(each: dict[str, Any]) -> tuple[str, ...]:
    ends = ("-" if each[end] is None else f"{each[end]:g}" for end in ("bad", "good"))
    return (each["signal"], *ends, each["unit"], each["state"], each["from"], each["name"])
