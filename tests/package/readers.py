"""Readers of the three formats, written apart from what writes them."""

import gzip
import io
import lzma
import struct
import tarfile
import zlib

PACKAGE = ["info", "paths", "scripts", "triggers", "replaces-priority"]
INFO = ["name", "version", "hashes", "description", "arch", "license", "origin", "maintainer", "url",
        "repo-commit", "build-time", "installed-size", "file-size", "provider-priority", "depends"]
SCRIPTS = ["trigger", "pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade",
           "post-upgrade"]
ACL = ["mode", "user", "group"]
FILE = ["name", "acl", "size", "mtime", "hash", "target"]
DIRECTORY = ["name", "acl", "files"]


def tar(data):
    """The members of a tar archive by name."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: (member, archive.extractfile(member).read() if member.isfile() else None)
                for member in archive.getmembers()}


def ipk(path):
    """The outer names in their order, the raw inner archives, and the members of data and control."""
    outer = tar(gzip.decompress(path.read_bytes()))
    raw = {name: gzip.decompress(outer[f"./{name}.tar.gz"][1]) for name in ("data", "control")}
    return list(outer), raw, tar(raw["data"]), tar(raw["control"])


def deb(path):
    """Likewise."""
    data = path.read_bytes()
    assert data[:8] == b"!<arch>\n"
    at, members = 8, {}
    while at < len(data):
        name, size = data[at:at + 16].decode().strip(), int(data[at + 48:at + 58])
        assert data[at + 58:at + 60] == b"`\n"
        members[name] = data[at + 60:at + 60 + size]
        at += 60 + size + size % 2
    raw = {name: lzma.decompress(members[f"{name}.tar.xz"]) for name in ("data", "control")}
    return list(members), raw, tar(raw["data"]), tar(raw["control"])


def fields(text):
    """The fields of a control file."""
    pairs = (line.split(": ", 1) for line in text.decode().splitlines() if line[0] != " ")
    return dict(pairs)


class Apk:
    """A package of apk 3: the tree, and the contents of the files by path."""

    def __init__(self, path):
        raw = path.read_bytes()
        assert raw[:4] == b"ADBd"
        self.raw = zlib.decompress(raw[4:], -zlib.MAX_WBITS)
        assert self.raw[:8] == b"ADB.pckg"
        blocks = list(self.blocks())
        assert [kind for kind, _ in blocks] == [0] + [2] * (len(blocks) - 1)
        self.adb = blocks[0][1]
        package = self.named(struct.unpack_from("<I", self.adb, 4)[0], PACKAGE)
        self.info = self.named(package["info"], INFO)
        self.scripts = {name: self.text(value)
                        for name, value in self.named(package["scripts"], SCRIPTS).items()}
        self.directories = [self.directory(value) for value in self.values(package["paths"])]
        self.contents = {}
        for _, block in blocks[1:]:
            path, file = struct.unpack_from("<II", block)
            directory = self.directories[path - 1]
            name = directory["files"][file - 1]["name"]
            self.contents["/".join(filter(None, [directory["name"], name]))] = block[8:]

    def blocks(self):
        at = 8
        while at < len(self.raw):
            word = struct.unpack_from("<I", self.raw, at)[0]
            size = word & 0x3fffffff
            yield word >> 30, self.raw[at + 4:at + size]
            at += size + -size % 8

    def values(self, value):
        if value == 0:
            return []
        assert value >> 28 in (0xd, 0xe)
        at = value & 0x0fffffff
        count = struct.unpack_from("<I", self.adb, at)[0]
        return list(struct.unpack_from(f"<{count - 1}I", self.adb, at + 4))

    def named(self, value, names):
        return {name: item for name, item in zip(names, self.values(value)) if item}

    def number(self, value):
        kind, rest = value >> 28, value & 0x0fffffff
        assert kind in (1, 2)
        return rest if kind == 1 else struct.unpack_from("<I", self.adb, rest)[0]

    def blob(self, value):
        form = {8: "<B", 9: "<H", 10: "<I"}[value >> 28]
        at = value & 0x0fffffff
        size = struct.unpack_from(form, self.adb, at)[0]
        at += struct.calcsize(form)
        return self.adb[at:at + size]

    def text(self, value):
        return self.blob(value).decode()

    def acl(self, value):
        acl = self.named(value, ACL)
        return self.number(acl["mode"]), self.text(acl["user"]), self.text(acl["group"])

    def directory(self, value):
        found = self.named(value, DIRECTORY)
        return {"name": self.text(found["name"]) if "name" in found else "",
                "acl": self.acl(found["acl"]),
                "files": [self.file(item) for item in self.values(found.get("files", 0))]}

    def file(self, value):
        found = self.named(value, FILE)
        return {"name": self.text(found["name"]), "acl": self.acl(found["acl"]),
                "size": self.number(found["size"]), "mtime": self.number(found["mtime"]),
                "hash": self.blob(found["hash"])}
