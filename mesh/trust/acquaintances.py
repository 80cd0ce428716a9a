"""Members whose credential this node verified itself, by node and by CURVE key."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, StorageCorrupt
from qallow_agent.base.ids import NodeId, show_id
from qallow_agent.mesh.wire.kinds import Credential

FOLDER = "trust/known/"


class Acquaintance(msgspec.Struct, frozen=True):
    """One member as it last showed itself."""

    credential: Credential
    contact: Contact


class Acquaintances:
    """Who was met, and who of them is believed to be reachable now.

    Args:
        known: What was kept, from :func:`decode_known`; none of them counts as linked yet.
        limit: Most members remembered.
    """

    def __init__(self, known: dict[NodeId, Acquaintance], limit: int) -> None:
        self._known = known
        self._owners = {item.credential.binding.curve_key: node for node, item in known.items()}
        self._linked: set[NodeId] = set()
        self._limit = limit

    def get(self, node: NodeId) -> Acquaintance | None:
        """Return what is known of a node."""
        return self._known.get(node)

    def nodes(self) -> tuple[NodeId, ...]:
        """Return everyone known, sorted."""
        return tuple(sorted(self._known))

    def items(self) -> tuple[Acquaintance, ...]:
        """Return everyone known, by node id."""
        return tuple(self._known[node] for node in self.nodes())

    def linked(self) -> tuple[NodeId, ...]:
        """Return everyone met in this run and not down since, sorted."""
        return tuple(sorted(self._linked))

    def is_linked_as(self, node: NodeId, contact: Contact, curve_key: bytes) -> bool:
        """Return whether a node is linked under exactly this contact and CURVE key."""
        item = self._known.get(node)
        return (
            node in self._linked
            and item is not None
            and item.contact == contact
            and item.credential.binding.curve_key == curve_key
        )

    def set_linked(self, node: NodeId, *, up: bool) -> None:
        """Note that a known node is reachable, or is not."""
        self._linked.discard(node)
        if up and node in self._known:
            self._linked.add(node)

    def check_curve_key(self, node: NodeId, curve_key: bytes) -> None:
        """Check that a CURVE key is free or the node's own.

        Raises:
            JoinRefused: Another node is bound to it: a ZAP handler could not tell them apart.
        """
        owner = self._owners.get(curve_key, node)
        if owner != node:
            raise JoinRefused(
                f"the CURVE key of node {show_id(node)} already belongs to {show_id(owner)}",
                hint="delete curve.key on the newer of the two boxes and start it again",
            )

    def put(self, node: NodeId, item: Acquaintance) -> bool:
        """Remember a node as linked; return whether that is news.

        Raises:
            JoinRefused: Its boot is older than the one known, its CURVE key is another node's, or
                too many members are known.
        """
        old = self._known.get(node)
        binding = item.credential.binding
        self.check_curve_key(node, binding.curve_key)
        if old is None and len(self._known) >= self._limit:
            raise JoinRefused(
                f"this node already knows {self._limit} members",
                hint="raise mesh.trust.known_max",
            )
        if old is not None and binding.epoch < old.credential.binding.epoch:
            raise JoinRefused(
                f"node {show_id(node)} shows boot {binding.epoch}, "
                f"but boot {old.credential.binding.epoch} was seen",
                hint="its state directory was restored from a backup; remove it and join again",
            )
        if old is not None:
            self._owners.pop(old.credential.binding.curve_key, None)
        self._owners[binding.curve_key] = node
        self._known[node] = item
        self._linked.add(node)
        return old != item

    def drop(self, node: NodeId) -> bool:
        """Forget a node; return whether it was known."""
        item = self._known.pop(node, None)
        self._linked.discard(node)
        if item is not None:
            self._owners.pop(item.credential.binding.curve_key, None)
        return item is not None

    def expired(self, now_s: int) -> tuple[NodeId, ...]:
        """Return everyone whose certificate has ended, sorted."""
        return tuple(
            node
            for node in self.nodes()
            if self._known[node].credential.certificate.expires_s <= now_s
        )


def known_name(node: NodeId) -> str:
    """Return the name under which a member is kept."""
    return FOLDER + node


def decode_known(kept: Mapping[str, bytes]) -> dict[NodeId, Acquaintance]:
    """Return every member that was kept.

    Raises:
        StorageCorrupt: A file does not decode or holds another node; names it.
    """
    known: dict[NodeId, Acquaintance] = {}
    for name in sorted(kept):
        if not name.startswith(FOLDER):
            continue
        try:
            item = msgspec.msgpack.decode(kept[name], type=Acquaintance)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _corrupt(name, str(error)) from error
        node = item.credential.certificate.node
        if known_name(node) != name:
            raise _corrupt(name, f"it holds node {show_id(node)}")
        known[node] = item
    return known


def _corrupt(name: str, why: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"{name} does not decode: {why}", hint="delete it; the member will be met again"
    )
