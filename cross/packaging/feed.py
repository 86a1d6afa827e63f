"""Signed feeds: what a router asks for packages, by opkg and by apk.

One directory for each architecture has the packages in both formats and the lists of them:

    Packages, Packages.gz   opkg's list; Packages.sig signs the first
    packages.adb            apk's list, signed within

Beside them are the public keys that routers have to have, under the names by which they are found.
"""

import gzip
import hashlib
import struct
import zlib

from . import apk, ipk
from .adb import BLOCK_ADB, BLOCK_SIG, SCHEMA_INDEX, Adb, block, compressed

INDEX_DESCRIPTION, INDEX_PACKAGES = 1, 2


def feed(project, arch, packages, keys, out):
    """Writes the packages and their lists into `out`; the files."""
    directory = out / arch
    directory.mkdir(parents=True, exist_ok=True)
    files = {}
    opkg, entries = [], []
    for package in sorted(packages, key=lambda package: package.name):
        name, data = ipk.pack_up(project, package)
        files[name] = data
        opkg.append(opkg_entry(project, package, name, data))
        name, data = apk.pack_up(project, package)
        # The name under which apk asks for it.
        files[f"{package.name}-{project.apk_version()}.apk"] = data
        entries.append((package, data))
    listed = "\n".join(opkg).encode()
    files["Packages"] = listed
    files["Packages.gz"] = gzip.compress(listed, 9, mtime=0)
    files["packages.adb"] = apk_index(project, entries, keys)
    for old in directory.iterdir():
        if old.suffix in (".ipk", ".apk"):
            old.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    (directory / "Packages.sig").write_bytes(keys.opkg_signature(directory / "Packages"))
    return [directory / name for name in [*files, "Packages.sig"]]


def public_keys(keys, out):
    """Writes the public keys; the files."""
    files = [(out / f"opkg/{keys.number().hex()}", keys.opkg_public()),
             (out / "apk/onebox-feed.pem", keys.apk_public())]
    for path, data in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [path for path, _ in files]


def opkg_entry(project, package, name, data):
    """What the package says of itself, and its file."""
    before, description = ipk.fields(project, package).split("Description: ")
    return (
        f"{before}"
        f"Filename: {name}\n"
        f"Size: {len(data)}\n"
        f"SHA256sum: {hashlib.sha256(data).hexdigest()}\n"
        f"Description: {description}"
    )


def apk_index(project, entries, keys):
    adb = Adb()
    values = []
    for package, data in entries:
        info = apk.information(adb, project, package)
        info[apk.INFO_SIZE] = adb.integer(apk.with_lists(package).size())
        info[apk.INFO_HASHES] = adb.blob(hashlib.sha256(tree_of(data)).digest())
        info[apk.INFO_FILE_SIZE] = adb.integer(len(data))
        values.append(adb.object(info))
    adb.set_root(adb.object({
        INDEX_DESCRIPTION: adb.blob(f"onebox {project.version}"),
        INDEX_PACKAGES: adb.array(values),
    }))
    tree = bytes(adb.data)
    signature = keys.apk_signature(SCHEMA_INDEX, tree)
    return compressed(SCHEMA_INDEX, [block(BLOCK_ADB, tree), block(BLOCK_SIG, signature)])


def tree_of(data):
    """The tree of a package, by which apk knows it."""
    raw = zlib.decompress(data[4:], -zlib.MAX_WBITS)
    size = struct.unpack_from("<I", raw, 8)[0] & 0x3fffffff
    return raw[12:8 + size]
