"""The one place that builds an agent from settings, and runs it."""

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from qallow_agent import __version__
from qallow_agent.base.errors import EXIT_OK
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import MeshId
from qallow_agent.base.machine import Instant
from qallow_agent.base.notice import Notice
from qallow_agent.config.policies import read_owner_file
from qallow_agent.config.schema import Settings
from qallow_agent.kernels.registry import Catalog, load_catalog
from qallow_agent.mesh.io.ntp import NtpSource
from qallow_agent.mesh.io.port import Transport
from qallow_agent.mesh.io.zmq_curve import bind
from qallow_agent.mesh.wire.seal import Sealer
from qallow_agent.node.build import Ingredients, RoomSettings, build_node
from qallow_agent.node.node import Node
from qallow_agent.node.post import make_post
from qallow_agent.runtime.control import ControlServer
from qallow_agent.runtime.devices import threads_per_task
from qallow_agent.runtime.driver import Driver, World
from qallow_agent.runtime.joining import Entrance, forget_mesh, refuse_second_mesh
from qallow_agent.runtime.keyring import load_keys
from qallow_agent.runtime.limits import close_memory, take_name
from qallow_agent.runtime.log import Chronicle, start_logging
from qallow_agent.runtime.logbook import Logbook
from qallow_agent.runtime.logfiles import LEDGER
from qallow_agent.runtime.mirrors import MIRRORED, Mirrors
from qallow_agent.runtime.plugins import Plugins, load_plugins
from qallow_agent.runtime.retention import Retention
from qallow_agent.runtime.sensing.lateness import Lateness
from qallow_agent.runtime.sensing.surroundings import Surroundings
from qallow_agent.runtime.sensors import SensorSource
from qallow_agent.runtime.store import StateStore
from qallow_agent.runtime.yard import RunnerYard

Ready = Callable[[dict[str, object]], None]
"""Called once the agent serves: node, name, mesh, mesh_name, addresses, socket, seconds."""


def read_clock() -> Instant:
    """Return now on both axes."""
    return Instant(time.monotonic(), time.time_ns())


def run_agent(settings: Settings, *, join: str | None, ready: Ready) -> int:
    """Run an agent in the foreground until it is stopped.

    Args:
        settings: Everything it is told, with names and paths of ``node`` resolved.
        join: An invite, for a box that is not a member yet.
        ready: Called when the agent serves.

    Returns:
        The process's exit code.

    Raises:
        ConfigError: A key, directory, port or setting is wrong; nothing was started.
        JoinRefused: The mesh refused the invite.
        PeerError: The invite's host cannot be reached.
    """
    take_name("qallow-agent")  # other agents of this machine know ours by it
    start_logging(settings.node.log_level, settings.node.log_format)
    started_s = time.monotonic()
    say = Chronicle(time.monotonic)
    with ExitStack() as cleanup:
        store = StateStore(Path(settings.node.state_dir)).open()
        cleanup.callback(store.close)
        control = ControlServer(Path(settings.node.socket))
        control.open()
        cleanup.callback(control.close)
        epoch = store.next_epoch()
        plugins = load_plugins(settings.devices.plugins)
        catalog = _catalog(settings, plugins, say)
        node, transport, logbook, mirrors = _enter_mesh(
            settings, store, epoch, join, catalog, cleanup
        )
        yard = _yard(settings, plugins, say)
        cleanup.callback(yard.close)
        felt = Surroundings(Lateness(), control.peers)
        sensors = SensorSource(settings.devices, catalog, plugins, surroundings=felt)
        cleanup.callback(sensors.close)
        clocks = NtpSource(settings.mesh.sync)
        cleanup.callback(clocks.close)
        world = World(
            post=make_post(node.me.node, node.rooms.ledger.clock),
            transport=transport,
            yard=yard,
            control=control,
            store=store,
            logbook=logbook,
            mirrors=mirrors,
            sources=(sensors, clocks, Retention(logbook.files, settings.ledger.retain_days, say)),
            say=say,
            clock=read_clock,
            lateness=felt.lateness,
        )
        ready(_served(node, control) | {"seconds": time.monotonic() - started_s})
        reason = Driver(node, world).run()
        if reason == "left":
            forget_mesh(store)
        say(Notice("agent.stopped", "the agent stopped", facts={"why": reason}))
    return EXIT_OK


def _served(node: Node, control: ControlServer) -> dict[str, object]:
    """Return who serves, and where."""
    me = node.me
    return {
        "node": me.node,
        "name": me.name,
        "mesh": me.mesh,
        "mesh_name": me.mesh_name,
        "addresses": list(me.contact.addresses(me.contact.stream)),
        "socket": str(control.path),
    }


def _enter_mesh(
    settings: Settings,
    store: StateStore,
    epoch: int,
    join: str | None,
    catalog: Catalog,
    cleanup: ExitStack,
) -> tuple[Node, Transport, Logbook, Mirrors]:
    close_memory()  # before there is a key in it
    keys = load_keys(store.directory)
    rng = random.Random(os.urandom(16))
    transport = bind(settings.mesh.transport, keys.curve.secret, read_clock, rng)
    cleanup.callback(transport.close)
    entrance = Entrance(
        store=store,
        keys=keys,
        name=settings.node.name,
        epoch=epoch,
        settings=settings.mesh.trust,
        clock=read_clock,
    )
    standing = entrance.kept()
    if standing is not None and join is not None:
        refuse_second_mesh(standing, join)
    elif standing is None and join is not None:
        standing = entrance.join(join, transport)
    elif standing is None:
        standing, keys = entrance.found(settings.node.mesh_name)
    sealer = Sealer(standing.keyring, standing.mesh, standing.node, epoch)
    transport.unlock(sealer.seal, sealer.open)
    logbook, mirrors = _logs(store, standing.mesh, cleanup)
    node = build_node(
        Ingredients(
            keys=keys,
            standing=standing,
            contact=transport.contact,
            epoch=epoch,
            release=__version__,
            catalog=catalog,
            settings=_room_settings(settings),
            rng=rng,
            kept=store.kept,
            past=logbook.open(),
            read_tile=logbook.read,
            mirrored=mirrors.past,
            clock=HybridClock(),
            owner_policy=read_owner_file(settings.ethics.policy_file),
        )
    )
    return node, transport, logbook, mirrors


def _logs(store: StateStore, mesh: MeshId, cleanup: ExitStack) -> tuple[Logbook, Mirrors]:
    logbook = Logbook(store.directory / LEDGER / mesh)
    cleanup.callback(logbook.close)
    mirrors = Mirrors(logbook.files.directory / MIRRORED)
    cleanup.callback(mirrors.close)
    return logbook, mirrors


def _yard(settings: Settings, plugins: Plugins, say: Callable[[Notice], None]) -> RunnerYard:
    threads = settings.runners.threads or threads_per_task(settings.devices)
    return RunnerYard(
        replace(settings.runners, threads=threads),
        hosts=(settings.mesh.transport.bind,),
        kernels=settings.kernels,
        cache_dir=str(Path(settings.node.cache_dir) / "jit"),
        say=say,
        secrets=(settings.node.state_dir,),
        plugins=plugins.values,
    )


def _catalog(settings: Settings, plugins: Plugins, say: Callable[[Notice], None]) -> Catalog:
    """Return the kernels this node offers, after saying which plug-ins were skipped."""
    catalog = load_catalog(settings.kernels.modules, settings.kernels.disabled)
    catalog = replace(catalog, hosts=plugins.hosts)
    for trouble in catalog.troubles:
        say(trouble)
    return catalog


def _room_settings(settings: Settings) -> RoomSettings:
    mesh = settings.mesh
    return RoomSettings(
        mesh.trust,
        mesh.discovery,
        mesh.membership,
        mesh.adverts,
        mesh.sync,
        settings.jobs,
        settings.placement,
        settings.ledger,
        settings.ethics,
    )
