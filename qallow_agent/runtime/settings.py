"""What the operator may set about runners, the processes that run kernels."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Limits and waits of runner processes and of the nursery that forks them."""

    import_paths: tuple[str, ...] = setting(
        (), "Folders from which plug-in kernels may be imported, besides the installed packages."
    )
    fences: str = setting(
        "auto",
        "What keeps kernels from the agent's keys, other processes and the network: 'auto' puts up "
        "all that this machine offers, 'required' runs no kernel when the keys stay in reach.",
        choices=("auto", "required", "off"),
    )
    user: str = setting(
        "",
        "User that runners of a root agent run as, a name or a number; empty: one that no program "
        "has. Other agents' runners keep their user.",
    )
    read_paths: tuple[str, ...] = setting(
        (),
        "Files and folders that kernels may read besides the system's, Python's and import_paths.",
    )
    device_files: tuple[str, ...] = setting(
        (),
        "Files below /dev that kernels may open besides GPUs', for plug-in devices; patterns as in "
        "a shell: xdma*.",
    )
    network: bool = setting(
        False, "Whether kernels may connect to other hosts and to services of this machine."
    )
    cgroup: str = setting(
        "",
        "cgroup (version 2) to divide among runners, a folder that is ours alone; empty: the "
        "agent's own if it was delegated to it; 'off': none.",
    )
    memory_bytes: int = setting(
        0,
        "Address space a runner may take beyond its start; 0: three quarters of the memory here.",
        unit=" bytes",
        ge=0,
    )
    file_bytes: int = setting(
        1 << 30, "Largest file a runner may write.", unit=" bytes", ge=1 << 20
    )
    scratch_bytes: int = setting(
        4 << 30,
        "Temporary files a runner may have at a time, 2,000 at most; one that has more is ended.",
        unit=" bytes", ge=1 << 20,
    )  # fmt: skip
    open_files: int = setting(
        512, "Files and sockets a runner may hold open; a submitter takes one.", ge=64, le=65536
    )
    processes: int = setting(
        256, "Processes and threads a runner may start; root's runners are not held to it.",
        ge=16, le=65536,
    )  # fmt: skip
    threads: int = setting(
        0,
        "Cores that one task on the CPU may use; 0: its slot's share of the physical cores, which "
        "is one unless devices.cpu_slots leaves some over.",
        ge=0, le=4096,
    )  # fmt: skip
    cpu_s: int = setting(
        0, "CPU seconds after which a runner is killed, all its tasks together; 0: never.",
        unit="s", ge=0,
    )  # fmt: skip
    niceness: int = setting(
        5, "How much runners step back for the agent and for other programs.", ge=0, le=19
    )
    port_first: int = setting(
        0, "First TCP port runners may listen on; 0: any free one.", ge=0, le=65535
    )
    port_last: int = setting(
        0, "Last TCP port runners may listen on; used when port_first is set.", ge=0, le=65535
    )
    start_s: float = setting(
        10.0, "Seconds from the fork until a runner must listen.", unit="s", ge=0.1, le=300
    )
    stop_s: float = setting(
        5.0, "Seconds a runner may take to finish its task when asked to stop; then it is killed.",
        unit="s", ge=0, le=600,
    )  # fmt: skip
    nursery_start_s: float = setting(
        90.0, "Seconds the nursery may take to import and compile the kernels.",
        unit="s", ge=1, le=3600,
    )  # fmt: skip
    nursery_idle_s: float = setting(
        60.0, "Seconds without any runner after which the nursery is retired and its memory freed.",
        unit="s", ge=0, le=86400,
    )  # fmt: skip
    canary_s: float = setting(
        30.0, "Seconds a kernel's known-answer test may take before its runner is killed.",
        unit="s", ge=0.1, le=3600,
    )  # fmt: skip
    busy_s: float = setting(
        0.25, "How often to look at what each runner is running.", unit="s", ge=0.01, le=10
    )
    output_lines: int = setting(
        20, "Lines per second a runner may print into the log; the rest is counted.", ge=0, le=10000
    )
