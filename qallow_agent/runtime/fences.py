"""Fences: what keeps kernels from the agent's keys, from other processes and from the network.

The nursery puts them up before it imports any kernel, and its runners inherit them. Each fence
stands on its own, since no machine offers all of them. One that cannot be put up is reported with
the fix and keeps nobody from working, unless ``runners.fences`` says "required".
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from qallow_agent.base.errors import DeviceError
from qallow_agent.base.notice import Notice
from qallow_agent.runtime import landlock, rights, seccomp
from qallow_agent.runtime.libc import SET_DUMPABLE, SET_NO_NEW_PRIVS, prctl
from qallow_agent.runtime.settings import RunnerSettings

_SYSTEM: Final = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/gnu", "/proc", "/sys",
    "/run/opengl-driver", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/alternatives", "/etc/OpenCL", "/etc/nvidia", "/etc/vulkan", "/etc/localtime",
    "/etc/timezone", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts",
    "/etc/host.conf", "/etc/resolv.conf", "/etc/ssl/certs", "/etc/os-release",
)  # fmt: skip
"""What programs read to run. Not /etc as a whole: root's runner may read past permissions."""

_DEVICES: Final = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/dri",
    "/dev/kfd",
)  # fmt: skip
_DEVICE_GLOBS: Final = ("nvidia*", "nv[hmg]*")
"""NVIDIA's, on PCI and on Jetson boards (nvhost, nvmap, nvgpu)."""

_AROUND_KEYS: Final = ("user", "files", "mounts")
_NEWER_KERNEL: Final = "use Linux 5.13 or newer with Landlock among its security modules (lsm=)"
_NOT_FORBIDDEN: Final = "does a container's seccomp profile forbid it?"
_PATH_VARIABLES: Final = ("LD_LIBRARY_PATH", "CUDA_HOME", "VIRTUAL_ENV")


class Fence(msgspec.Struct, frozen=True):
    """One fence: whether it is up, what it keeps kernels from, and the fix when it is not."""

    name: str
    up: bool
    what: str
    fix: str = ""


class Ground(msgspec.Struct, frozen=True):
    """What the fences stand around.

    Args:
        secrets: Folders that no kernel may look into.
        cache: Folder of compiled kernels, which the nursery writes and runners read; empty if none.
        scratch: Folder below which each runner has its own for temporary files; empty if none.
        read: What kernels may read, once it was looked up.
        devices: Device files they may use, once they were looked up.
    """

    secrets: tuple[str, ...] = ()
    cache: str = ""
    scratch: str = ""
    read: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def folder_of(self, runner: str) -> str:
        """Return the folder of one runner's temporary files; empty if it has none."""
        return str(Path(self.scratch) / runner) if self.scratch else ""

    def hidden(self) -> tuple[Path, ...]:
        """Return the folders that exist and must not be seen, resolved."""
        return tuple(Path(secret).resolve() for secret in self.secrets if Path(secret).exists())


@dataclass(frozen=True, slots=True)
class Tenant:
    """The user that runners of this agent have, as the agent must prepare folders for it."""

    uid: int
    gid: int
    changes: bool


def tenant(settings: RunnerSettings) -> Tenant:
    """Return which user runners will have.

    Raises:
        ConfigError: ``runners.user`` names nobody.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 or settings.fences == "off":
        return Tenant(uid, gid, changes=False)
    wanted = rights.runner_user(settings.user)
    return Tenant(*wanted, changes=wanted[0] != 0)


def look_up(ground: Ground, settings: RunnerSettings) -> Ground:
    """Return the ground with what kernels may read and use: once, for all runners to inherit."""
    wanted = [*map(Path, _SYSTEM), *_python(), *map(Path, settings.import_paths)]
    wanted += [Path(path) for path in (*settings.read_paths, ground.cache) if path]
    hidden = ground.hidden()
    read = {path: None for folder in wanted for path in landlock.around(folder, hidden)}
    return msgspec.structs.replace(ground, read=tuple(read), devices=tuple(_devices(settings)))


def enclose(ground: Ground, settings: RunnerSettings) -> tuple[Fence, ...]:
    """Put up every fence this machine offers around this process; before any thread is started.

    Args:
        ground: With what kernels may read looked up.
        settings: What the operator wants.

    Raises:
        DeviceError: Fences are required, and the keys would stay in reach.
    """
    if settings.fences == "off":
        prctl(SET_NO_NEW_PRIVS, 1)
        return (_down("fences", "kernels may do what the agent's user may", "runners.fences=auto"),)
    found = [
        *_veil(ground),
        *_change_user(ground, settings),
        _fence_files(ground, settings),
        _fence_calls(settings),
    ]
    prctl(SET_NO_NEW_PRIVS, 1)
    prctl(SET_DUMPABLE, 0)  # siblings, which are of the same user, cannot look into our memory
    if settings.fences == "required" and not keys_are_out_of_reach(found):
        missing = "; ".join(fence.what for fence in found if not fence.up)
        raise DeviceError(
            f"runners.fences is 'required', and kernels could read the agent's keys: {missing}",
            hint="'qallow-agent doctor' names each fix",
        )
    return tuple(found)


def keys_are_out_of_reach(fences: Iterable[Fence]) -> bool:
    """Return whether something stands between kernels and the agent's files."""
    return any(fence.up and fence.name in _AROUND_KEYS for fence in fences)


def fence_notices(fences: Iterable[Fence]) -> list[Notice]:
    """Return what kernels are kept from, and what they are not, for the log."""
    return [
        Notice(
            "runners.fenced" if fence.up else "runners.unfenced",
            f"a fence around kernels is {'up' if fence.up else 'missing'}",
            "info" if fence.up else "warning",
            {"fence": fence.name, "what": fence.what, "fix": fence.fix},
        )
        for fence in fences
    ]


def enclose_runner(ground: Ground, settings: RunnerSettings, writable: tuple[str, ...]) -> None:
    """Shut a runner off from its siblings and the shared cache; before it starts any thread.

    Args:
        ground: As the nursery looked it up.
        settings: As given to the nursery.
        writable: The folders this runner may write.

    Raises:
        OSError: The kernel refuses what it granted to the nursery.
    """
    if settings.fences != "off" and landlock.version():
        _restrict(ground, settings, writable)


def close_network(settings: RunnerSettings) -> None:
    """Let this process make no more network sockets; after it has bound its own.

    Raises:
        OSError: The kernel refuses what it granted to the nursery.
    """
    if settings.fences != "off" and not settings.network and seccomp.available():
        seccomp.forbid_network()


def _veil(ground: Ground) -> Iterator[Fence]:
    """Hide the secrets by mounts where Landlock, which does it better, is missing."""
    hidden = ground.hidden()
    if landlock.version() or not hidden:
        return
    needed = [path for path in (ground.cache, ground.scratch, *map(str, _python())) if path]
    buried = [path for path in needed if any(map(Path(path).resolve().is_relative_to, hidden))]
    if buried:
        what = f"the keys cannot be hidden by a mount: {buried[0]} stands among them"
        yield _down("mounts", what, "move node.state_dir or node.cache_dir")
        return
    try:
        rights.hide(hidden)
    except OSError as error:
        yield _down("mounts", f"the keys cannot be hidden by a mount: {error}", _NEWER_KERNEL)
    else:
        yield _up("mounts", "the state directory is hidden from kernels")


def _change_user(ground: Ground, settings: RunnerSettings) -> Iterator[Fence]:
    """Stop being root; whoever is not, only drops what the agent may beyond its user."""
    lodger = tenant(settings)
    if not lodger.changes:
        rights.keep_capabilities()
        if lodger.uid == 0:
            yield _down("user", "runners stay root, as set", "leave runners.user empty")
        return
    folders = [path for path in (ground.cache, ground.scratch) if path]
    needed = [*_python(), *map(Path, (*settings.import_paths, *folders))]
    closed = rights.unreadable(lodger.uid, lodger.gid, [path for path in needed if path.exists()])
    if closed and not landlock.version():
        rights.keep_capabilities()
        what = f"runners stay root: user {lodger.uid} cannot read {closed}"
        yield _down("user", what, f"chmod o+rx {closed}, or set runners.user to one that can")
        return
    try:
        groups = rights.device_groups(ground.devices)
        rights.become(lodger.uid, lodger.gid, groups, reads_all=bool(closed))
    except OSError as error:
        yield _down("user", f"runners stay root: {error}", "set runners.user to one that exists")
        return
    more = f", who may read past permissions since {closed} is closed" if closed else ""
    yield _up("user", f"runners are user {lodger.uid}, not root{more}")


def _fence_files(ground: Ground, settings: RunnerSettings) -> Fence:
    offered = landlock.version()
    if not offered:
        what = "this kernel has no Landlock: kernels can read whatever their user can"
        return _down("files", what, _NEWER_KERNEL)
    try:
        _restrict(ground, settings, (ground.cache, ground.scratch))
    except OSError as error:
        return _down("files", f"Landlock refuses: {error}", _NOT_FORBIDDEN)
    signals = ", signal nobody" if offered >= landlock.SCOPE_VERSION else ""
    what = f"kernels read system files and Python, write temporary files{signals}"
    return _up("files", f"{what} (Landlock {offered})")


def _fence_calls(settings: RunnerSettings) -> Fence:
    if not seccomp.available():
        what = "no seccomp: kernels can connect to services here, the control socket included"
        return _down("calls", what, "use a kernel with CONFIG_SECCOMP_FILTER, x86-64 or AArch64")
    try:
        seccomp.forbid_reach(network=settings.network)
    except OSError as error:
        return _down("calls", f"seccomp refuses: {error}", _NOT_FORBIDDEN)
    network = "" if settings.network else "connections, "
    return _up("calls", f"kernels get no {network}other processes' memory, namespaces (seccomp)")


def _up(name: str, what: str) -> Fence:
    return Fence(name, up=True, what=what)


def _down(name: str, what: str, fix: str) -> Fence:
    return Fence(name, up=False, what=what, fix=fix)


def _restrict(ground: Ground, settings: RunnerSettings, writable: tuple[str, ...]) -> None:
    write = [path for path in writable if path]
    landlock.restrict(ground.read, write, ground.devices, network=settings.network)


def _python() -> list[Path]:
    """Return where this interpreter, its packages and what is installed editable are read from."""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path)]
    places += [place for name in _PATH_VARIABLES
               for place in os.environ.get(name, "").split(os.pathsep) if place]  # fmt: skip
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            places += getattr(module, "MAPPING", {}).values()
    ours = Path(__file__).resolve().parents[1]
    links = [entry.resolve() for entry in ours.iterdir() if entry.is_symlink()]
    return [ours, *links, *map(Path, dict.fromkeys(places))]


def _devices(settings: RunnerSettings) -> list[str]:
    globs = (*_DEVICE_GLOBS, *(glob.removeprefix("/dev/") for glob in settings.device_files))
    found = [str(path) for glob in globs for path in sorted(Path("/dev").glob(glob))]
    return [*(path for path in _DEVICES if Path(path).exists()), *found]
