"""Messages out of a stream (RFC 3261 18.3), CRLF keep-alives (RFC 5626 4.4.1).

Feed it whatever octets arrive, in any cuts; out come whole messages. It judges only what
framing needs, Content-Length above all, and once the stream cannot be framed it stays broken:
the octets after an unclear length are somebody's guess (request smuggling).
"""

from __future__ import annotations

import re

from rmlb.sip.message import SipError

_LENGTH = re.compile(rb"\r\n(?i:content-length|l)[ \t]*+:((?:[^\r]|\r\n[ \t])*+)(?=\r\n)")
_DIGITS = re.compile(rb"[0-9]{1,9}\Z")
_PING = b"\r\n\r\n"


class StreamFramer:
    """Cuts one direction of one connection into messages."""

    def __init__(self, *, max_message_size: int = 65535) -> None:
        self.max_message_size = max_message_size
        self._buffer = bytearray()
        self._searched = 0  # octets already searched for the end of the header
        self._whole = 0  # size of the message at the front, 0 while unknown
        self.pings = 0
        """Double CRLFs swallowed since the caller last set it to 0; each wants one CRLF back."""
        self.error: SipError | None = None
        """Why the stream can no longer be framed; the connection has to be closed."""
        self.unbounded = False
        """The message at the front has no Content-Length: only silence or the end of the stream
        ends it (RFC 2543; RFC 3261 18.3 makes the length a must)."""

    @property
    def broken(self) -> bool:
        """`error` is set."""
        return self.error is not None

    @property
    def is_empty(self) -> bool:
        """Nothing has arrived but whole messages."""
        return not self._buffer and self.error is None

    @property
    def is_waiting(self) -> bool:
        """A message has begun and is not whole; half a keep-alive is none."""
        return bool(self._buffer) and not _PING.startswith(self._buffer)

    @property
    def rest(self) -> bytes:
        """What has arrived of a message that is not whole, or of one that broke the stream."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take octets in, give whole messages out. Sets `error`, never raises."""
        buffer = self._buffer
        if self.error is not None:
            return []
        buffer += data
        messages: list[bytes] = []
        while buffer and self.error is None:
            if not self._whole and not self.unbounded and self._at_start_line():
                self._find_end()
            if not self._whole or len(buffer) < self._whole:
                break
            messages.append(bytes(buffer[: self._whole]))
            del buffer[: self._whole]
            self._whole = self._searched = 0
        if self.unbounded and len(buffer) > self.max_message_size:
            self.error = SipError(513, "message larger than the limit")
        return messages

    def end_unbounded(self) -> bytes:
        """The unbounded message, ended here; nothing after it can be framed."""
        data = self.rest
        self._buffer.clear()
        self.unbounded = False
        self.error = SipError(400, "octets after a message without Content-Length")
        return data

    def _at_start_line(self) -> bool:
        """Swallow keep-alives and empty lines; True once something else stands in front."""
        buffer = self._buffer
        if self._searched:
            return True
        while buffer.startswith(b"\r\n"):
            if buffer.startswith(_PING):
                self.pings += 1
                del buffer[:4]
            elif _PING.startswith(buffer):
                return False  # may become a ping
            else:
                del buffer[:2]  # a pong, or an empty line before a start line (7.5)
        if buffer.startswith((b"\r", b"\n")) and buffer != b"\r":
            self.error = SipError(400, "lone CR or LF before a message")
        return bool(buffer) and buffer[:1] != b"\r" and self.error is None

    def _find_end(self) -> None:
        buffer = self._buffer
        blank = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if blank < 0:
            self._searched = len(buffer)
            if len(buffer) > self.max_message_size:
                self.error = SipError(513, "header larger than the limit")
            return
        if (
            blank + 4 > self.max_message_size
        ):  # whatever the cuts: what is too large is so before all else
            self.error = SipError(513, "header larger than the limit")
            return
        lengths = _LENGTH.findall(buffer, 0, blank + 2)
        if not lengths:
            self.unbounded = True
            return
        if len(lengths) > 1:
            self.error = SipError(400, "more than one Content-Length")
            return
        digits = bytes(lengths[0]).replace(b"\r\n", b" ").strip(b" \t")
        if _DIGITS.match(digits) is None:
            self.error = SipError(400, "malformed Content-Length")
            return
        size = blank + 4 + int(digits)
        if size > self.max_message_size:
            self.error = SipError(513, "message larger than the limit")
            return
        self._whole = size
