"""Packages of opkg, OpenWrt's package manager up to 24.10.

A tar archive, compressed with gzip, of three files: `debian-binary`, `data.tar.gz` with what is
installed and `control.tar.gz` with what opkg has to know. The scripts are those of every package of
OpenWrt: they call the functions of the base system, which make the user, run the uci-defaults and
enable and start the service, or stop and disable it.
"""

import gzip

from . import project as about
from .contents import CONFIG
from .tree import Entry, Tree, tar

# The one architecture that has had another name than with apk.
NAMES = {"riscv64_generic": "riscv64_riscv64"}


def package(project, tree, arch):
    """Name and bytes of the package."""
    arch = NAMES.get(arch, arch)
    control = Tree()
    control.add("control", fields(project, tree, arch).encode())
    control.add("conffiles", f"/{CONFIG}\n".encode())
    control.add("postinst", script("default_postinst").encode(), 0o755)
    control.add("prerm", script("default_prerm").encode(), 0o755)
    members = [("debian-binary", b"2.0\n")]
    for name, inner in [("data", tree), ("control", control)]:
        members.append((f"{name}.tar.gz", pack(inner.tar(project.epoch))))
    outer = tar([(name, Entry(0o644, data)) for name, data in members], project.epoch)
    return f"onebox_{project.ipk_version()}_{arch}.ipk", pack(outer)


def pack(archive):
    return gzip.compress(archive, 9, mtime=0)


def fields(project, tree, arch):
    return (
        "Package: onebox\n"
        f"Version: {project.ipk_version()}\n"
        f"Depends: {', '.join(about.OPENWRT_DEPENDS)}\n"
        f"License: {project.license}\n"
        "Section: net\n"
        f"Require-User: {about.OPENWRT_USER}\n"
        f"SourceDateEpoch: {project.epoch}\n"
        f"Maintainer: {about.MAINTAINER}\n"
        f"Architecture: {arch}\n"
        f"Installed-Size: {tree.size()}\n"
        f"Description: {project.description}\n"
    )


def script(function):
    """Does nothing where there is no OpenWrt; `IPKG_INSTROOT` is set while an image is built."""
    return (
        "#!/bin/sh\n"
        '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
        '[ -s "${IPKG_INSTROOT}/lib/functions.sh" ] || exit 0\n'
        '. "${IPKG_INSTROOT}/lib/functions.sh"\n'
        f'{function} "$0" "$@"\n'
    )
