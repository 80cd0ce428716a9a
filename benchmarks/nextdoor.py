"""A box next door: a network namespace of this machine behind a virtual cable of its own."""

import os
import shutil
import subprocess
from contextlib import suppress
from typing import Self

HERE = "10.77.0.1"
THERE = "10.77.0.2"
"""Both ends of the cable."""

VARIABLE = "BENCH_NEXT_DOOR"
"""Names the namespace for the processes that drive peers; unset where there is none."""

_NAMESPACE = "qbench"
_CABLE = ("qbench0", "qbench1")


class NextDoor:
    """Makes the namespace and its cable, and takes both away again."""

    def __enter__(self) -> Self:
        if why_not():
            return self
        _remove()
        near, far = _CABLE
        _ip("netns", "add", _NAMESPACE)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", _NAMESPACE)
        _ip("addr", "add", f"{HERE}/24", "dev", near)
        _ip("link", "set", near, "up")
        for words in (
            ("addr", "add", f"{THERE}/24", "dev", far),
            ("link", "set", far, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "dev", far),  # without it no multicast leaves
        ):
            _ip("-n", _NAMESPACE, *words)
        os.environ[VARIABLE] = _NAMESPACE
        return self

    def __exit__(self, *_: object) -> None:
        if os.environ.pop(VARIABLE, ""):
            _remove()


def why_not() -> str:
    """Return why no namespace can be made here; empty when one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return "" if _program() else "the command 'ip' (Debian: iproute2) is not installed"


def prefix() -> tuple[str, ...]:
    """Return the words that run a command next door; none when there is no such box."""
    name = os.environ.get(VARIABLE, "")
    return ("ip", "netns", "exec", name) if name else ()


def _program() -> str:
    return shutil.which("ip") or ""


def _remove() -> None:
    with suppress(subprocess.CalledProcessError):
        _ip("netns", "del", _NAMESPACE)
    with suppress(subprocess.CalledProcessError):
        _ip("link", "del", _CABLE[0])


def _ip(*words: str) -> None:
    subprocess.run([_program(), *words], check=True, capture_output=True, timeout=10)
