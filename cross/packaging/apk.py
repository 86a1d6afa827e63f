"""Packages of apk 3, OpenWrt's package manager from 25.12 on.

One tree describes the package (`adb`), one block per file follows with its contents. Numbers of
fields are those of apk's schema. The tree is written in the order in which `apk mkpkg` does it, so
that both can be compared byte by byte.

The default scripts of OpenWrt find what they need below `/lib/apk/packages`: the files, the
configuration, the user. Unsigned: apk takes such a package with `--allow-untrusted`, or by way of a
signed index.
"""

import hashlib
import struct

from . import project as about
from .adb import BLOCK_ADB, BLOCK_DATA, SCHEMA_PACKAGE, Adb, block, compressed
from .contents import ALL

INFO_NAME, INFO_VERSION, INFO_HASHES, INFO_DESCRIPTION, INFO_ARCH, INFO_LICENSE, INFO_ORIGIN = (
    range(1, 8))
INFO_MAINTAINER, INFO_URL, INFO_SIZE, INFO_FILE_SIZE, INFO_DEPENDS = 8, 9, 12, 13, 15
DEPENDENCY_NAME = 1
ACL_MODE, ACL_USER, ACL_GROUP = 1, 2, 3
FILE_NAME, FILE_ACL, FILE_SIZE, FILE_MTIME, FILE_HASHES = range(1, 6)
DIRECTORY_NAME, DIRECTORY_ACL, DIRECTORY_FILES = 1, 2, 3
SCRIPT_POST_INSTALL, SCRIPT_PRE_DEINSTALL, SCRIPT_POST_UPGRADE = 3, 4, 7
PACKAGE_INFO, PACKAGE_PATHS, PACKAGE_SCRIPTS = 1, 2, 3
# Of SHA-256, what tells one package from another.
HASH_SIZE = 20
LISTS = "lib/apk/packages"


def pack_up(project, package):
    """Name and bytes of the package."""
    tree = with_lists(package)
    adb = Adb()
    info = information(adb, project, package)
    paths, contents = directories(adb, tree, project.epoch)
    info[INFO_SIZE] = adb.integer(tree.size())
    info[INFO_HASHES], place = adb.blob_to_be_filled(HASH_SIZE)
    root = {PACKAGE_INFO: adb.object(info), PACKAGE_PATHS: adb.array(paths)}
    root[PACKAGE_SCRIPTS] = adb.object(
        {number: adb.blob(text) for number, text in sorted(scripts(package).items())})
    adb.set_root(adb.object(root))
    adb.data[place:place + HASH_SIZE] = hashlib.sha256(adb.data).digest()[:HASH_SIZE]
    file = compressed(SCHEMA_PACKAGE, [block(BLOCK_ADB, bytes(adb.data)), *contents])
    return f"{package.name}_{project.apk_version()}_{arch(package)}.apk", file


def arch(package):
    return "noarch" if package.arch == ALL else package.arch


def information(adb, project, package):
    """What the package says of itself, without its size and hash."""
    info = {
        INFO_NAME: adb.blob(package.name),
        INFO_VERSION: adb.blob(project.apk_version()),
        INFO_DESCRIPTION: adb.blob(package.description),
        INFO_ARCH: adb.blob(arch(package)),
        INFO_LICENSE: adb.blob(project.license),
        INFO_ORIGIN: adb.blob(package.origin),
        INFO_MAINTAINER: adb.blob(about.MAINTAINER),
        INFO_URL: adb.blob(about.URL),
    }
    info[INFO_DEPENDS] = adb.array([
        adb.object({DEPENDENCY_NAME: adb.blob(name)}) for name in sorted(package.depends)])
    return info


def with_lists(package):
    """With what OpenWrt's scripts and its update of the whole system ask for."""
    tree = package.tree.copy()
    lists = f"{LISTS}/{package.name}"
    if package.user:
        tree.add(f"{lists}.rusers", f"{package.user}\n".encode())
    tree.add(f"{lists}.list", "".join(f"/{path}\n" for path, _ in tree.files()).encode())
    if package.config:
        digest = hashlib.sha256(tree.entries[package.config].data).hexdigest()
        tree.add(f"{lists}.conffiles", f"/{package.config}\n".encode())
        tree.add(f"{lists}.conffiles_static", f"/{package.config} {digest}\n".encode())
    return tree


def directories(adb, tree, epoch):
    """The values of all directories, and a block for every file that is not empty."""
    paths, blocks = [], []
    places = [("", 0o755)]
    places += [(path, entry.mode) for path, entry in tree.sorted() if entry.data is None]
    for number, (directory, mode) in enumerate(places, 1):
        inside = [(path, entry) for path, entry in tree.files() if parent(path) == directory]
        files = [file(adb, path, entry, epoch) for path, entry in inside]
        name = adb.blob(directory)
        paths.append(adb.object({
            DIRECTORY_NAME: name,
            DIRECTORY_ACL: acl(adb, mode),
            DIRECTORY_FILES: adb.array(files),
        }))
        for index, (_, entry) in enumerate(inside, 1):
            if entry.data:
                blocks.append(block(BLOCK_DATA, struct.pack("<II", number, index) + entry.data))
    return paths, blocks


def parent(path):
    return path.rpartition("/")[0]


def file(adb, path, entry, epoch):
    return adb.object({
        FILE_NAME: adb.blob(path.rpartition("/")[2]),
        FILE_HASHES: adb.blob(hashlib.sha256(entry.data).digest()),
        FILE_MTIME: adb.integer(epoch),
        FILE_SIZE: adb.integer(len(entry.data)),
        FILE_ACL: acl(adb, entry.mode),
    })


def acl(adb, mode):
    return adb.object({
        ACL_MODE: adb.integer(mode),
        ACL_USER: adb.blob("root"),
        ACL_GROUP: adb.blob("root"),
    })


def scripts(package):
    """An update runs neither the old package's scripts nor this one's for the first installation."""
    user = "add_group_and_user\n" if package.user else ""
    installed = f"{user}{package.installed}default_postinst\n"
    updated = f"export PKG_UPGRADE=1\n{installed}{package.updated}"
    return {
        SCRIPT_POST_INSTALL: script(package, installed),
        SCRIPT_PRE_DEINSTALL: script(package, "default_prerm\n"),
        SCRIPT_POST_UPGRADE: script(package, updated),
    }


def script(package, commands):
    """Does nothing where there is no OpenWrt; `IPKG_INSTROOT` is set while an image is built."""
    return (
        "#!/bin/sh\n"
        '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
        '[ -s "${IPKG_INSTROOT}/lib/functions.sh" ] || exit 0\n'
        '. "${IPKG_INSTROOT}/lib/functions.sh"\n'
        f'export root="${{IPKG_INSTROOT}}" pkgname={package.name}\n'
        f"{commands}"
    )
