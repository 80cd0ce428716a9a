"""Spelling: a refusal that came as bytes, as documents and terminals show it."""

from typing import Any

from qallow_agent.base.errors import PeerError
from qallow_agent.ethics.refusal import decode_refusal, document, text


def spelled(data: bytes) -> dict[str, Any]:
    """Return the document of an encoded refusal, with its words for people under ``text``.

    Of nothing, and of bytes that are no refusal, there is nothing to say.
    """
    if not data:
        return {}
    try:
        refusal = decode_refusal(data)
    except PeerError:
        return {}
    return {**document(refusal), "text": text(refusal)}
