"""ADB, the container of apk 3: a tree of values, and blocks that carry it and the files' contents.

A value is a word of 32 bits, little-endian: four bits of type and 28 bits of value, which is a small
number itself or the place of something that was written before. So a tree is written from its leaves
to its root. Equal leaves and equal branches are written once.

    file    magic `ADB.`, schema, blocks
    block   u32 type << 30 | size (its own four bytes counted), contents, zeros up to a multiple of 8
    tree    the contents of the first block: u8 0, u8 0, u16 0, the root, everything else

The files of apk are described in its manual, `apk-v3(5)`.
"""

import struct

from . import deflate

NULL = 0
INT, INT_32, BLOB_8, BLOB_16, BLOB_32, OBJECT = (
    kind << 28 for kind in (0x1, 0x2, 0x8, 0x9, 0xa, 0xe))
SCHEMA_PACKAGE, SCHEMA_INDEX = b"pckg", b"indx"
BLOCK_ADB, BLOCK_SIG, BLOCK_DATA = 0, 1, 2


class Adb:
    """A tree that is being written."""

    def __init__(self):
        self.data = bytearray(8)
        # Place by contents.
        self.written = {}

    def write(self, data, alignment):
        """Writes something, or finds it written; its place."""
        place = self.written.get(data)
        if place is None or place % alignment:
            place = self.written[data] = self.append(data, alignment)
        return place

    def append(self, data, alignment):
        self.data += bytes(-len(self.data) % alignment)
        place = len(self.data)
        self.data += data
        return place

    def integer(self, number):
        if number < 1 << 28:
            return INT | number
        return INT_32 | self.write(struct.pack("<I", number), 4)

    def blob(self, data):
        """Bytes; none are no value."""
        if isinstance(data, str):
            data = data.encode()
        if not data:
            return NULL
        kind, length = sized(data)
        return kind | self.write(length + data, len(length))

    def blob_to_be_filled(self, size):
        """So many zeros, which nothing else shares; the value and the place of the first."""
        kind, length = sized(bytes(size))
        place = self.append(length + bytes(size), len(length))
        return kind | place, place + len(length)

    def object(self, fields):
        """An object from the values of its fields, by number."""
        slots = [NULL] * (max(fields, default=0) + 1)
        for number, value in fields.items():
            slots[number] = value
        while len(slots) > 1 and slots[-1] == NULL:
            slots.pop()
        return self.array(slots[1:])

    def array(self, values):
        """An array, sorted by what the values mean. There is a type of its own for it, but apk
        writes that of an object and reads either."""
        if not values:
            return NULL
        count = len(values) + 1
        return OBJECT | self.write(struct.pack(f"<{count}I", count, *values), 4)

    def set_root(self, value):
        self.data[4:8] = struct.pack("<I", value)


def sized(data):
    """The type of a blob, and its length as that type has it."""
    if len(data) > 0xffff:
        return BLOB_32, struct.pack("<I", len(data))
    if len(data) > 0xff:
        return BLOB_16, struct.pack("<H", len(data))
    return BLOB_8, struct.pack("<B", len(data))


def block(kind, data):
    size = 4 + len(data)
    return struct.pack("<I", kind << 30 | size) + data + bytes(-size % 8)


def compressed(schema, blocks):
    """A whole file; of the compressions that apk knows, OpenWrt's has only deflate."""
    return b"ADBd" + deflate.raw(b"ADB." + schema + b"".join(blocks))
