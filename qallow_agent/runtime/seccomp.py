"""System calls that a process gives up for ever, by a small filter in the kernel.

It guards what file permissions do not: other processes' memory, connections to sockets, namespaces,
and calls that would go round the filter itself. Everything that computes is left alone.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst; numbers from the kernel's tables.
"""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass
from typing import Final

from qallow_agent.runtime.libc import SET_NO_NEW_PRIVS, prctl, syscall

_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1 << 0
_KEEP_SPEED: Final = 1 << 2
"""Without it kernels before 5.16 switch speculation off for the process, and kernels get slower."""

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_STEP_BYTES: Final = 8
_AF_UNIX: Final = 1
_X32: Final = 0x40000000
"""The bit that marks calls of x86-64's second, 32-bit ABI, which would need numbers of its own."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """One architecture: its audit number and its system calls."""

    audit: int
    seccomp: int
    socket: int
    connect: int
    others: tuple[int, ...]


# The rows of ``others``: ptrace, process_vm_readv, process_vm_writev, kcmp | unshare, setns, mount,
# umount2, pivot_root, chroot | add_key, request_key, keyctl | bpf, perf_event_open, userfaultfd,
# open_by_handle_at.
_NEWER: Final = (438, *range(425, 434), 442)
"""pidfd_getfd, io_uring_*, open_tree to fspick, mount_setattr: alike on all architectures."""

_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E, 317, 41, 42,
        (101, 310, 311, 312, 272, 308, 165, 166, 155, 161, 248, 249, 250, 321, 298, 323, 304),
    ),
    "aarch64": _Machine(
        0xC00000B7, 277, 198, 203,
        (117, 270, 271, 272, 97, 268, 40, 39, 41, 51, 217, 218, 219, 280, 241, 282, 265),
    ),
}  # fmt: skip


def available() -> bool:
    """Return whether this kernel filters, and we know its machine's numbers."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    try:
        syscall(machine.seccomp, _SET_MODE_FILTER, 0, None)
    except OSError as error:
        return error.errno == errno.EFAULT  # it would have read a filter
    return False


def forbid_reach(*, network: bool) -> None:
    """Give up other processes' memory, namespaces and kernel features that computing needs not.

    Args:
        network: Keep the right to connect sockets; without it none can be connected, be it to a
            host or to a service of this machine.

    Raises:
        OSError: The kernel does not filter, or not on this machine.
    """
    _install(reach_filter(platform.machine(), network=network), 0)


def forbid_network() -> None:
    """Let no thread of this process make any socket from now on but Unix ones.

    Raises:
        OSError: The kernel does not filter, or not on this machine.
    """
    _install(network_filter(platform.machine()), _ALL_THREADS)


def reach_filter(machine: str, *, network: bool) -> bytes:
    """Return the filter program of :func:`forbid_reach` for a machine, as Python names it.

    Raises:
        OSError: Its system call numbers are not known.
    """
    known = _machine(machine)
    denied = (*known.others, *_NEWER, *(() if network else (known.connect,)))
    return _program(
        known,
        *(
            _step(_JUMP_IF_EQUAL, number, 0, 1) + _step(_RETURN, _FAIL | errno.EACCES)
            for number in denied
        ),
    )


def network_filter(machine: str) -> bytes:
    """Return the filter program of :func:`forbid_network` for a machine, as Python names it.

    Raises:
        OSError: Its system call numbers are not known.
    """
    known = _machine(machine)
    return _program(
        known,
        _step(_JUMP_IF_EQUAL, known.socket, 0, 3),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        _step(_JUMP_IF_EQUAL, _AF_UNIX, 1, 0),
        _step(_RETURN, _FAIL | errno.EACCES),
    )


def _machine(name: str) -> _Machine:
    if name not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no system call numbers for {name}")
    return _MACHINES[name]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _program(machine: _Machine, *rules: bytes) -> bytes:
    """Return a program that knows only one architecture, then applies rules, then allows."""
    return b"".join(
        (
            _step(_LOAD, _ARCH_AT),
            _step(_JUMP_IF_EQUAL, machine.audit, 1, 0),
            _step(_RETURN, _FAIL | errno.ENOSYS),
            _step(_LOAD, _NUMBER_AT),
            _step(_JUMP_IF_SET, _X32, 0, 1),
            _step(_RETURN, _FAIL | errno.ENOSYS),
            *rules,
            _step(_RETURN, _ALLOW),
        )
    )


def _install(program: bytes, flags: int) -> None:
    kept = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // _STEP_BYTES, ctypes.addressof(kept))
    prctl(SET_NO_NEW_PRIVS, 1)
    number = _machine(platform.machine()).seccomp
    syscall(number, _SET_MODE_FILTER, flags | _KEEP_SPEED, ctypes.c_char_p(described))
