"""Sealed datagrams: only holders of the mesh keyring read, write or replay them, and none twice.

Layout: version (1 byte), key hint (4), sender (17), boot epoch (u64), counter (u64), then the
ChaCha20-Poly1305 ciphertext and tag (RFC 8439). The header and the mesh id are associated data.
Each (sender, epoch) has its own key, derived from the keyring secret with keyed BLAKE2b
(RFC 7693), so that the counter alone is the nonce: no two senders can ever collide on a nonce. A
sender must therefore never reuse an epoch.

The keyring is shared by the whole mesh: a seal proves that *a member* wrote the datagram and
protects from strangers. What must be proved by one node alone is signed by its own key.
"""

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from qallow_agent.base.errors import BadSignature, ConfigError, Malformed, Replayed, TooLarge
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.mesh.wire.identity import pack_id, unpack_id

SEAL_VERSION = 1
WINDOW = 1024
"""Counters that may arrive out of order; RFC 4303 asks for at least 32, fast links for more."""
SENDERS = 4096
"""Senders whose windows are remembered (about 400 bytes each); the least recent is forgotten."""
DATAGRAM_BYTES = 65_507
"""Largest UDP payload over IPv4 (RFC 768 with RFC 791)."""

_HEADER = struct.Struct(">B4s17sQQ")
_NONCE = struct.Struct(">IQ")
_TAG_BYTES = 16
_KEY_BYTES = 32
OVERHEAD_BYTES = _HEADER.size + _TAG_BYTES
"""Bytes a seal adds to its content."""


@dataclass(slots=True)
class _Window:
    """What was heard of one sender: its newest epoch, the counters seen in it, its ciphers."""

    node: NodeId
    epoch: int
    highest: int = -1
    seen: int = 0
    ciphers: dict[bytes, ChaCha20Poly1305] = field(default_factory=dict)

    def check(self, epoch: int, counter: int) -> None:
        """Raise Replayed unless this (epoch, counter) is new."""
        if epoch < self.epoch:
            raise Replayed(f"a datagram of an older run of node {self.node} (epoch {epoch})")
        if epoch > self.epoch:
            return
        behind = self.highest - counter
        if behind >= WINDOW:
            raise Replayed(f"datagram {counter} of node {self.node} is too old")
        if behind >= 0 and self.seen >> behind & 1:
            raise Replayed(f"datagram {counter} of node {self.node} was seen before")

    def mark(self, counter: int) -> None:
        """Remember that a counter of the current epoch was received."""
        ahead = counter - self.highest
        if ahead > 0:
            kept = self.seen << ahead if ahead < WINDOW else 0
            self.seen = (kept | 1) & ((1 << WINDOW) - 1)
            self.highest = counter
        else:
            self.seen |= 1 << -ahead


class Sealer:
    """Seals our datagrams and opens those of other members, each at most once.

    Args:
        keyring: 32-byte secrets, newest first; the first one seals, any one opens.
        mesh: Bound into every seal.
        node: Our id.
        epoch: Our boot epoch; must be new at every start, or nonces would repeat.
        senders: Senders whose replay windows are remembered.
    """

    def __init__(
        self,
        keyring: tuple[bytes, ...],
        mesh: MeshId,
        node: NodeId,
        epoch: int,
        senders: int = SENDERS,
    ) -> None:
        if not keyring or any(len(secret) != _KEY_BYTES for secret in keyring):
            raise ConfigError("the mesh keyring needs at least one key of 32 bytes")
        self._secrets = {key_hint(secret): secret for secret in reversed(keyring)}
        self._hint = key_hint(keyring[0])
        self._mesh = mesh.encode()
        self._sender = pack_id(node)
        self._epoch = epoch
        self._cipher = _cipher(keyring[0], self._mesh, self._sender, epoch)
        self._counter = 0
        self._senders = senders
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()

    def seal(self, data: bytes) -> bytes:
        """Return a datagram that members of the mesh can open, once each."""
        counter, self._counter = self._counter, self._counter + 1
        header = _HEADER.pack(SEAL_VERSION, self._hint, self._sender, self._epoch, counter)
        nonce = _NONCE.pack(0, counter)
        return header + self._cipher.encrypt(nonce, data, self._mesh + header)

    def open(self, datagram: bytes) -> tuple[NodeId, bytes]:
        """Return who sealed a datagram and what it holds.

        Raises:
            TooLarge: Longer than any UDP datagram.
            Malformed: Too short, or not in this format.
            Replayed: Seen before, too old, or of an older run of its sender; checked before any
                cryptography, so a replay flood is cheap.
            BadSignature: Sealed under a key we do not hold, for another mesh, or tampered with.
        """
        if len(datagram) > DATAGRAM_BYTES:
            raise TooLarge(f"{len(datagram)} bytes exceed any datagram")
        if len(datagram) < OVERHEAD_BYTES:
            raise Malformed(f"{len(datagram)} bytes are too short for a sealed datagram")
        header = bytes(datagram[: _HEADER.size])
        version, hint, sender, epoch, counter = _HEADER.unpack(header)
        if version != SEAL_VERSION:
            raise Malformed(f"unknown seal version {version}")
        secret = self._secrets.get(hint)
        if secret is None:
            raise BadSignature("sealed under a key this node does not hold")
        window = self._windows.get(sender)
        if window is not None:
            window.check(epoch, counter)
        fresh = window is None or window.epoch != epoch
        if window is None or fresh:
            window = _Window(unpack_id(sender), epoch)
        cipher = window.ciphers.get(hint) or _cipher(secret, self._mesh, sender, epoch)
        try:
            data = cipher.decrypt(
                _NONCE.pack(0, counter), datagram[_HEADER.size :], self._mesh + header
            )
        except InvalidTag as error:
            raise BadSignature("a sealed datagram does not verify") from error
        window.ciphers[hint] = cipher
        window.mark(counter)
        self._remember(sender, window)
        return window.node, data

    def _remember(self, sender: bytes, window: _Window) -> None:
        self._windows[sender] = window
        self._windows.move_to_end(sender)
        if len(self._windows) > self._senders:
            self._windows.popitem(last=False)


def key_hint(secret: bytes) -> bytes:
    """Return the four bytes by which a receiver picks the key; they reveal nothing of it."""
    return hashlib.blake2b(secret, digest_size=4, person=b"qallow-hint").digest()


def _cipher(secret: bytes, mesh: bytes, sender: bytes, epoch: int) -> ChaCha20Poly1305:
    info = mesh + sender + epoch.to_bytes(8)
    key = hashlib.blake2b(info, digest_size=_KEY_BYTES, key=secret, person=b"qallow-seal")
    return ChaCha20Poly1305(key.digest())
