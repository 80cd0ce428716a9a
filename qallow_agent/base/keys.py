"""Keys: Ed25519 identities, X25519 CURVE keys and ML-DSA-44, made from seeds the shell provides.

A raw X25519 key pair in Z85 is exactly libzmq's CURVE key pair (RFC 26/CurveZMQ), so one library
serves both. Nothing here draws entropy: a seed comes in, keys come out.
"""

import base64
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from qallow_agent.base.errors import BadSignature
from qallow_agent.base.ids import key_id

KEY_BYTES = 32
SIGNATURE_BYTES = 64

LATTICE_KEY_BYTES = 1_312
LATTICE_SIGNATURE_BYTES = 2_420
"""Source: FIPS 204, table 2, ML-DSA-44."""

_RAW = serialization.Encoding.Raw
_RAW_PUBLIC = serialization.PublicFormat.Raw


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key; ``public`` is its 32-byte public half, ``id`` the name it gives."""

    seed: bytes = field(repr=False)

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._private().public_key().public_bytes(_RAW, _RAW_PUBLIC)

    @property
    def id(self) -> str:
        """The identity that the public key gives."""
        return key_id(self.public)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of ``data`` (RFC 8032)."""
        return self._private().sign(data)


@dataclass(frozen=True, slots=True)
class CurveKey:
    """An X25519 private key that is also a CURVE secret key."""

    secret: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """The 32-byte CURVE public key."""
        private = X25519PrivateKey.from_private_bytes(self.secret)
        return private.public_key().public_bytes(_RAW, _RAW_PUBLIC)


@dataclass(frozen=True, slots=True)
class LatticeKey:
    """An ML-DSA-44 private key (FIPS 204), which no quantum computer is known to break."""

    seed: bytes = field(repr=False)

    def _private(self) -> mldsa.MLDSA44PrivateKey:
        return mldsa.MLDSA44PrivateKey.from_seed_bytes(self.seed)

    @property
    def public(self) -> bytes:
        """The public key, 1,312 bytes."""
        return self._private().public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Return a signature of ``data``, 2,420 bytes, without a context."""
        return self._private().sign(data)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """Everything secret a node owns.

    Args:
        identity: Who it is.
        curve: Encrypts its links.
        mesh: The mesh's own key, where this node has it.
        ledger: Seed of every key that signs logs; :func:`derive` makes them. Empty where nothing
            is ever signed.
    """

    identity: SigningKey
    curve: CurveKey
    mesh: SigningKey | None = None
    ledger: bytes = field(default=b"", repr=False)


def derive(seed: bytes, label: str) -> bytes:
    """Return the 32-byte seed of one key out of many that hang on one secret.

    Args:
        seed: The secret, 32 bytes.
        label: What the key is for; another label gives a key that tells nothing about this one.

    Raises:
        ValueError: The secret is too short: whoever derived from it would have a guessable key.

    Source: RFC 5869 (HKDF with SHA-256, no salt).
    """
    if len(seed) != KEY_BYTES:
        raise ValueError(f"a seed of {len(seed)} bytes, not {KEY_BYTES}")
    return HKDF(hashes.SHA256(), KEY_BYTES, None, label.encode()).derive(seed)


def verify(public_key: bytes, data: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature.

    Raises:
        BadSignature: The key or signature is malformed, or does not fit the data.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("signature does not verify") from error


def verify_lattice(public_key: bytes, data: bytes, signature: bytes) -> None:
    """Check an ML-DSA-44 signature.

    Raises:
        BadSignature: The key or signature is malformed, or does not fit the data.
    """
    try:
        mldsa.MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("signature does not verify") from error


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_Z85 = str.maketrans(_B85, _Z85)


def z85(key: bytes) -> bytes:
    """Return a 32-byte key in Z85 as libzmq's socket options want it (ZeroMQ RFC 32)."""
    return base64.b85encode(key).decode().translate(_TO_Z85).encode()
