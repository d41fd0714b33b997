"""Compressed message bodies. Producers compress and consumers decompress; the broker never looks inside.

zlib is always there; LZ4 (frame format) and Zstandard come with the package cramjam. Output is bounded, so that a small
body cannot exhaust memory.
Source: apache/rocketmq: common/.../compression/CompressionType.java, Lz4Compressor.java, ZstdCompressor.java,
ZlibCompressor.java, remoting.md 2.5
"""

import zlib
from collections.abc import Callable
from enum import IntEnum

from protocol.errors import LocalProtocolError, RemoteProtocolError, RocketMQError
from protocol.flags import MessageSysFlag

try:
    import cramjam  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    cramjam = None  # type: ignore[assignment, unused-ignore]

DEFAULT_LEVEL = 5
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
"""Largest body after decompression: sixteen times the largest message that a broker takes by default."""

_TYPE_SHIFT = 8
_FIRST_GUESS_BYTES = 64 * 1024
_EXPECTED_RATIO = 8


class CompressionType(IntEnum):
    """How a body is compressed; the value is what the three type bits of sysFlag hold."""

    LZ4 = 1
    ZSTD = 2
    ZLIB = 3

    @property
    def sys_flag(self) -> int:
        """The bits to set in MessageSysFlag: the type and COMPRESSED."""
        return self << _TYPE_SHIFT | MessageSysFlag.COMPRESSED


class MissingCompression(RocketMQError, ImportError):
    """A body needs LZ4 or Zstandard, and the package that does it is not installed."""


def compress(body: bytes, kind: CompressionType = CompressionType.ZLIB, level: int = DEFAULT_LEVEL) -> bytes:
    """The compressed body; the caller sets `kind.sys_flag` beside it.

    Units:  level 0 to 9 for zlib, 1 to 22 for Zstandard; LZ4 ignores it, as upstream does.
    Raises: MissingCompression, or LocalProtocolError for a level that does not exist.
    """
    return _COMPRESSORS[kind](body, level)


def decompress(body: bytes, sys_flag: int, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The body as its producer gave it; unchanged when `sys_flag` says that it is not compressed.

    Shape:  sys_flag is a MessageSysFlag; type bits of zero mean zlib. Bytes after the end of a zlib stream are ignored,
            as every official client does.
    Raises: RemoteProtocolError for a damaged body, an unknown type, or more than `max_bytes` of output;
            MissingCompression.
    """
    if not sys_flag & MessageSysFlag.COMPRESSED:
        return body
    kind = (sys_flag & MessageSysFlag.COMPRESSION_MASK) >> _TYPE_SHIFT
    decompressor = _DECOMPRESSORS.get(kind)
    if decompressor is None:
        raise RemoteProtocolError(f"compression type {kind} is unknown, sysFlag is {sys_flag:#x}")
    return decompressor(body, max_bytes)


def _zlib_compress(body: bytes, level: int) -> bytes:
    try:
        return zlib.compress(body, level)
    except zlib.error as error:
        raise LocalProtocolError(f"zlib cannot compress at level {level}: {error}") from error


def _zlib_decompress(body: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RemoteProtocolError(f"a zlib body of {len(body)} bytes is damaged: {error}") from error
    if len(plain) > max_bytes:
        raise RemoteProtocolError(f"a zlib body of {len(body)} bytes holds more than {max_bytes} bytes")
    if not stream.eof:
        raise RemoteProtocolError(f"a zlib body of {len(body)} bytes is cut off after {len(plain)} bytes of output")
    return plain


def _lz4_compress(body: bytes, level: int) -> bytes:
    _require("LZ4")
    # lz4-java refuses frames whose blocks depend on each other, which is what cramjam.lz4.compress makes.
    stream = cramjam.lz4.Compressor(level=0, content_checksum=True, block_linked=False)
    stream.compress(body)
    return bytes(stream.finish())


def _lz4_decompress(body: bytes, max_bytes: int) -> bytes:
    _require("LZ4")
    return _bounded("LZ4", cramjam.lz4.decompress_into, body, max_bytes)


def _zstd_compress(body: bytes, level: int) -> bytes:
    _require("Zstandard")
    if not 1 <= level <= 22:
        raise LocalProtocolError(f"Zstandard has the levels 1 to 22, not {level}")
    return bytes(cramjam.zstd.compress(body, level))


def _zstd_decompress(body: bytes, max_bytes: int) -> bytes:
    _require("Zstandard")
    return _bounded("Zstandard", cramjam.zstd.decompress_into, body, max_bytes)


def _require(what: str) -> None:
    if cramjam is None:
        raise MissingCompression(f"{what} compression needs the package cramjam: install aiorocketmq[compression]")


def _bounded(what: str, decompress_into: Callable[[bytes, bytearray], int], body: bytes, max_bytes: int) -> bytes:
    """Decompress into a buffer that is enlarged while the body does not fit, and never beyond the limit.

    cramjam does not say reliably whether a body was damaged or too large, so a damaged one is tried at each size.
    """
    room = max(_FIRST_GUESS_BYTES, _EXPECTED_RATIO * len(body))
    while True:
        room = min(room, max_bytes)
        plain = bytearray(room)
        try:
            size = decompress_into(body, plain)
        except cramjam.DecompressionError as error:
            if room == max_bytes:
                raise RemoteProtocolError(
                    f"{what} body of {len(body)} bytes is damaged or holds more than {max_bytes} bytes: {error}"
                ) from error
            room *= _EXPECTED_RATIO
        else:
            return bytes(memoryview(plain)[:size])


_COMPRESSORS: dict[CompressionType, Callable[[bytes, int], bytes]] = {
    CompressionType.ZLIB: _zlib_compress,
    CompressionType.LZ4: _lz4_compress,
    CompressionType.ZSTD: _zstd_compress,
}

_DECOMPRESSORS: dict[int, Callable[[bytes, int], bytes]] = {
    0: _zlib_decompress,  # written by clients from before the type bits, and by Go
    CompressionType.ZLIB: _zlib_decompress,
    CompressionType.LZ4: _lz4_decompress,
    CompressionType.ZSTD: _zstd_decompress,
}
