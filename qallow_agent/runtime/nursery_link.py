"""The agent's end of the nursery: starts the process, sends orders, hears reports."""

import os
import socket
import stat
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Final

from qallow_agent.base.errors import DeviceLost
from qallow_agent.base.message import Message
from qallow_agent.runtime.fences import Tenant
from qallow_agent.runtime.orders import PACKET_BYTES, Fork, order_codec
from qallow_agent.runtime.output import OutputLog

_KEPT_ENVIRONMENT: Final = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "CUDA_HOME", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""All else stays with the agent: its environment may hold tokens."""

_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""A slot is one core; and a library that starts threads at import makes forks unsafe."""

_ARENAS: Final = "2"
"""Each arena of glibc's malloc reserves 64 MiB of the address space that a runner may take."""

_LINES_PER_S: Final = 100
_FAREWELL_S: Final = 3.0


class NurseryLink:
    """One nursery process. It ends when this link is closed, and with the agent.

    Args:
        import_paths: Folders it may import plug-ins from.
        cache_dir: Where Numba keeps compiled kernels.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, import_paths: tuple[str, ...], cache_dir: str) -> None:
        self._codec = order_codec()
        self._unsent: deque[bytes] = deque()
        self.ready = False
        self.open = True
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        read_end, write_end = os.pipe()
        self.output = OutputLog(read_end, "nursery", _LINES_PER_S)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "qallow_agent.runtime.nursery",
                 str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                cwd="/",
                env=clean_environment(import_paths, cache_dir),
                start_new_session=True,
            )  # fmt: skip
        except OSError:
            self.socket.close()
            self.output.close()
            raise
        finally:
            theirs.close()
            os.close(write_end)

    def order(self, message: Message) -> None:
        """Send an order, now or at the next flush."""
        self._unsent.append(self._codec.encode(message))
        self.flush()

    def fork(self, order: Fork, luggage: tuple[int, ...]) -> bool:
        """Send an order to fork with the child's descriptors; False when it cannot be taken now."""
        self.flush()
        if self._unsent:
            return False
        try:
            socket.send_fds(self.socket, [self._codec.encode(order)], luggage)
        except OSError:
            return False
        return True

    def flush(self) -> None:
        """Send the orders that wait."""
        while self._unsent and self.open:
            try:
                self.socket.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError:  # it is dying: `hear` will see the end
                break
            self._unsent.popleft()

    @property
    def waits(self) -> bool:
        """Whether orders wait for the nursery to read."""
        return bool(self._unsent) and self.open

    def hear(self) -> list[Message]:
        """Return its reports; ``open`` turns False once it is gone.

        Raises:
            WireError: It said something no nursery says.
        """
        messages: list[Message] = []
        while self.open:
            try:
                packet = self.socket.recv(PACKET_BYTES)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                self.open = False
                break
            messages.append(self._codec.decode(packet))
        return messages

    def close(self, *, kill: bool = False) -> int:
        """End the nursery and every runner with it; return its exit status. Its output stays.

        It ends at once when it sees the socket close; only a hung one takes up to three seconds.
        """
        self.open = False
        if kill:
            self.process.kill()
        self.socket.close()
        try:
            status = self.process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        return status


def prepare_cache(cache_dir: str, lodger: Tenant) -> str:
    """Make the folder of compiled kernels, or check that only its user can write it; return it.

    Its files are pickles: whoever can write one runs code in our runners. So runners with a user
    of their own get a folder of their own, below the given one's name.

    Raises:
        DeviceLost: It cannot be made, or others may write it.
    """
    folder = Path(f"{cache_dir}-{lodger.uid}" if lodger.changes else cache_dir)
    try:
        fresh = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fresh and lodger.changes:
            os.chown(folder, lodger.uid, lodger.gid)
        status = folder.stat()
    except OSError as error:
        raise DeviceLost(f"no folder for compiled kernels at {folder}: {error}") from error
    if status.st_uid != lodger.uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DeviceLost(
            f"others may write the folder of compiled kernels {folder}",
            hint=f"chmod 700 {folder}, or delete it",
        )
    return str(folder)


def clean_environment(import_paths: tuple[str, ...], cache_dir: str) -> dict[str, str]:
    """Return the environment of the nursery: a short list of ours, and one thread a library."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    environment |= dict.fromkeys(_ONE_THREAD, "1")
    environment["MALLOC_ARENA_MAX"] = _ARENAS
    environment["NUMBA_NUM_THREADS"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    if cache_dir:
        environment["NUMBA_CACHE_DIR"] = str(Path(cache_dir).absolute())
    inherited = environment.get("PYTHONPATH", "")
    folders = [*(str(Path(path).absolute()) for path in import_paths), *filter(None, [inherited])]
    if folders:
        environment["PYTHONPATH"] = os.pathsep.join(folders)
    return environment
