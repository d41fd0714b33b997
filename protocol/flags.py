"""Bit fields of frames, records, pull requests and topics, as plain integers: they are tested on hot paths.

Source: apache/rocketmq: common/.../sysflag/MessageSysFlag.java, PullSysFlag.java, constant/PermName.java,
remoting/.../protocol/RemotingCommand.java
"""


class RpcFlag:
    """`flag` of a frame."""

    RESPONSE = 1
    ONEWAY = 2


class MessageSysFlag:
    """`sysFlag` of a send header and of a stored record."""

    COMPRESSED = 0x1
    MULTI_TAGS = 0x2
    TRANSACTION_NOT = 0x0
    TRANSACTION_PREPARED = 0x4
    TRANSACTION_COMMIT = 0x8
    TRANSACTION_ROLLBACK = 0xC
    TRANSACTION_MASK = 0xC
    BORN_HOST_V6 = 0x10
    STORE_HOST_V6 = 0x20
    NEED_UNWRAP = 0x40
    INNER_BATCH = 0x80
    COMPRESSION_LZ4 = 0x100
    COMPRESSION_ZSTD = 0x200
    COMPRESSION_ZLIB = 0x300
    COMPRESSION_MASK = 0x700


class PullSysFlag:
    """`sysFlag` of a pull request: another numbering than MessageSysFlag."""

    COMMIT_OFFSET = 1
    SUSPEND = 2
    SUBSCRIPTION = 4
    CLASS_FILTER = 8
    LITE_PULL = 16


class PermName:
    """Permission bits of a topic on a broker."""

    INHERIT = 1
    WRITE = 2
    READ = 4
    PRIORITY = 8
    READ_WRITE = 6
