"""Catalogues of translations as LuCI reads them on the router (`.lmo`).

    texts   one after the other, each filled up with zeros to a multiple of four bytes
    index   for each, sorted by the first number: hash of the original, number of forms, place, length
    u32     where the index begins

All numbers are big-endian. The hash is Paul Hsieh's SuperFastHash, seeded with the length. The rule
for plurals has the hash 0. Nothing is written for a text whose translation is the same, nor for one
that has none.

Limits: no context, no plural forms and no texts in several lines, none of which the pages have.
"""

import re
import struct

ENTRY = re.compile(r'^msgid "(.+)"\nmsgstr "(.+)"$', re.M)
PLURALS = re.compile(r'^"Plural-Forms: (.*?)\\n"$', re.M)


def lmo(catalogue):
    """The file that the text of a `.po` makes."""
    found = [(0, 0, rule.encode()) for rule in PLURALS.findall(catalogue)]
    for pair in ENTRY.findall(catalogue):
        text, words = (unquoted(part).encode() for part in pair)
        if superfast(text) != superfast(words):
            found.append((superfast(text), 1, words))
    texts, index = b"", []
    for key, forms, words in found:
        index.append(struct.pack(">4I", key, forms, len(texts), len(words)))
        texts += words + bytes(-len(words) % 4)
    return texts + b"".join(sorted(index)) + struct.pack(">I", len(texts))


def unquoted(text):
    return re.sub(r'\\(["\\])', r"\1", text)


def superfast(data):
    if not data:
        return 0
    value = len(data)
    whole = len(data) & ~3
    for low, high in struct.iter_unpack("<HH", data[:whole]):
        value = wrapped(value + low)
        value = wrapped(value << 16) ^ high << 11 ^ value
        value = wrapped(value + (value >> 11))
    rest = data[whole:]
    # A byte is a signed number here, as LuCI's processors have it.
    last = struct.unpack("b", rest[-1:])[0] if rest else 0
    if len(rest) == 3:
        value = wrapped(value + int.from_bytes(rest[:2], "little"))
        value = wrapped(value ^ value << 16 ^ last << 18)
        value += value >> 11
    elif len(rest) == 2:
        value = wrapped(value + int.from_bytes(rest, "little"))
        value = wrapped(value ^ value << 11)
        value += value >> 17
    elif len(rest) == 1:
        value = wrapped(value + last)
        value = wrapped(value ^ value << 10)
        value += value >> 1
    for left, right in [(3, 5), (4, 17), (25, 6)]:
        value = wrapped(value ^ value << left)
        value = wrapped(value + (value >> right))
    return value


def wrapped(number):
    return number & 0xffffffff
