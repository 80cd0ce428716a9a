import errno
import struct

import pytest

from qallow_agent.runtime import seccomp

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EACCES
UNKNOWN = 0x00050000 | errno.ENOSYS

# Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
NUMBERS = {
    "x86_64": {
        "audit": 0xC000003E, "read": 0, "socket": 41, "connect": 42, "accept": 43, "bind": 49,
        "clone": 56, "kill": 62, "ptrace": 101, "mmap": 9, "futex": 202, "unshare": 272,
        "process_vm_readv": 310, "memfd_create": 319, "io_uring_setup": 425, "clone3": 435,
        "faccessat2": 439,
    },
    "aarch64": {
        "audit": 0xC00000B7, "read": 63, "socket": 198, "connect": 203, "accept": 202, "bind": 200,
        "clone": 220, "kill": 129, "ptrace": 117, "mmap": 222, "futex": 98, "unshare": 97,
        "process_vm_readv": 270, "memfd_create": 279, "io_uring_setup": 425, "clone3": 435,
        "faccessat2": 439,
    },
}  # fmt: skip
FINE = ("read", "accept", "bind", "clone", "kill", "mmap", "futex", "memfd_create", "clone3",
        "faccessat2")  # fmt: skip
REACHING = ("ptrace", "unshare", "process_vm_readv", "io_uring_setup")
AF_UNIX, AF_INET, AF_NETLINK = 1, 2, 16


def verdict(program: bytes, audit: int, number: int, argument: int = 0) -> int:
    """Run a filter on one system call, as the kernel would."""
    call = struct.pack("=iIQ6Q", number, audit, 0, argument, 0, 0, 0, 0, 0)
    steps = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", call, operand)
        elif code == 0x15:
            at += if_true if value == operand else if_false
        elif code == 0x45:
            at += if_true if value & operand else if_false
        else:
            assert code == 0x06
            return operand


@pytest.fixture(params=sorted(NUMBERS))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_computes_is_allowed_and_what_reaches_out_is_not(machine: str) -> None:
    program = seccomp.reach_filter(machine, network=False)
    numbers = NUMBERS[machine]
    for name in FINE:
        assert verdict(program, numbers["audit"], numbers[name]) == ALLOW, name
    for name in (*REACHING, "connect"):
        assert verdict(program, numbers["audit"], numbers[name]) == REFUSE, name


def test_the_network_can_be_left_open(machine: str) -> None:
    program = seccomp.reach_filter(machine, network=True)
    numbers = NUMBERS[machine]
    assert verdict(program, numbers["audit"], numbers["connect"]) == ALLOW
    assert verdict(program, numbers["audit"], numbers["ptrace"]) == REFUSE


def test_only_unix_sockets_can_be_made_without_a_network(machine: str) -> None:
    program = seccomp.network_filter(machine)
    numbers = NUMBERS[machine]
    assert verdict(program, numbers["audit"], numbers["socket"], AF_UNIX) == ALLOW
    for family in (AF_INET, AF_NETLINK):
        assert verdict(program, numbers["audit"], numbers["socket"], family) == REFUSE
    for name in FINE:
        assert verdict(program, numbers["audit"], numbers[name], AF_INET) == ALLOW, name


def test_calls_of_another_architecture_are_unknown(machine: str) -> None:
    other = next(name for name in NUMBERS if name != machine)
    for program in (seccomp.reach_filter(machine, network=True), seccomp.network_filter(machine)):
        assert verdict(program, NUMBERS[other]["audit"], NUMBERS[other]["read"]) == UNKNOWN


def test_the_second_abi_of_x86_64_is_no_way_round() -> None:
    program = seccomp.reach_filter("x86_64", network=False)
    audit = NUMBERS["x86_64"]["audit"]
    assert verdict(program, audit, 0x40000000 | NUMBERS["x86_64"]["connect"]) == UNKNOWN


def test_an_unknown_machine_is_refused_in_words() -> None:
    with pytest.raises(OSError, match="no system call numbers for riscv64"):
        seccomp.reach_filter("riscv64", network=False)
