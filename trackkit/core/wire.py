"""Batches of a journal as they travel to a server: one message, whole or not at all.

A message is four bytes, the CRC-32 of what follows, and a msgpack array: run, writer, the offset up to which the
sender thinks the server has the journal, start and end of the batch, the ends of the frames and their payloads.
So a message that was damaged on its way, down to the run it is for, is told from a good one; that it arrives
twice changes nothing, as it says where in the journal it belongs.
"""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec

from trackkit.core.sink import Batch

CONTENT_TYPE = "application/x-trackkit-batch"

_CHECKSUM = struct.Struct("<I")


class Damaged(ValueError):
    """The message is not what was sent."""


class Message(msgspec.Struct, array_like=True, frozen=True):
    """A batch and whose it is."""

    run: str
    writer: str
    after: int
    start: int
    end: int
    ends: list[int]
    payloads: list[bytes]

    def batch(self) -> Batch:
        """The batch."""
        return Batch(self.start, self.end, self.payloads, self.ends)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(run: str, writer: str, after: int, batch: Batch) -> bytes:
    """The message of a batch."""
    body = _encoder.encode(Message(run, writer, after, batch.start, batch.end, batch.ends, batch.payloads))
    return _CHECKSUM.pack(crc32(body)) + body


def decode(message: bytes) -> Message:
    """The message's batch.

    Raises
    ------
    Damaged
        If the checksum does not match, or the message makes no sense.
    """
    view = memoryview(message)
    if len(view) < 4 or _CHECKSUM.unpack_from(view)[0] != crc32(view[4:]):
        raise Damaged("the batch was damaged on its way: its checksum does not match")
    try:
        found = _decoder.decode(view[4:])
    except msgspec.MsgspecError as error:
        raise Damaged(f"this is no batch of journal frames: {error}") from error
    _check(found)
    return found


def _check(found: Message) -> None:
    """A batch may leave out what was damaged in the journal, but goes forward and stays within its bounds."""
    position = found.start
    if not 0 <= found.after <= found.start or len(found.ends) != len(found.payloads):
        raise Damaged("the batch contradicts itself: it begins before what is known, or frames lack ends")
    for end, payload in zip(found.ends, found.payloads, strict=True):
        if end < position + 8 + len(payload):
            raise Damaged("the batch contradicts itself: its frames overlap")
        position = end
    if found.end < position or found.end <= found.start:
        raise Damaged("the batch contradicts itself: it ends before its frames do")
