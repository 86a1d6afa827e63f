"""Packages of opkg, OpenWrt's package manager up to 24.10.

A tar archive, compressed with gzip, of three files: `debian-binary`, `data.tar.gz` with what is
installed and `control.tar.gz` with what opkg has to know. The scripts are those of every package of
OpenWrt: they call the functions of the base system, which make the user, run the uci-defaults and
enable and start the service, or stop and disable it.
"""

from . import deflate
from . import project as about
from .tree import Entry, Tree, tar

# The one architecture that has had another name than with apk.
NAMES = {"riscv64_generic": "riscv64_riscv64"}


def pack_up(project, package):
    """Name and bytes of the package."""
    control = Tree()
    control.add("control", fields(project, package).encode())
    if package.config:
        control.add("conffiles", f"/{package.config}\n".encode())
    control.add("postinst", script(package.installed, "default_postinst").encode(), 0o755)
    control.add("prerm", script("", "default_prerm").encode(), 0o755)
    members = [("debian-binary", b"2.0\n")]
    for name, inner in [("data", package.tree), ("control", control)]:
        members.append((f"{name}.tar.gz", deflate.gzipped(inner.tar(project.epoch))))
    outer = tar([(name, Entry(0o644, data)) for name, data in members], project.epoch)
    return f"{package.name}_{project.ipk_version()}_{arch(package)}.ipk", deflate.plain(outer)


def arch(package):
    return NAMES.get(package.arch, package.arch)


def fields(project, package):
    return (
        f"Package: {package.name}\n"
        f"Version: {project.ipk_version()}\n"
        f"Depends: {', '.join(package.depends)}\n"
        f"License: {project.license}\n"
        f"Section: {package.section}\n"
        + (f"Require-User: {package.user}\n" if package.user else "") +
        f"URL: {about.URL}\n"
        f"SourceDateEpoch: {project.epoch}\n"
        f"Maintainer: {about.MAINTAINER}\n"
        f"Architecture: {arch(package)}\n"
        f"Installed-Size: {package.tree.size()}\n"
        f"Description: {package.description}\n"
    )


def script(before, function):
    """Does nothing where there is no OpenWrt; `IPKG_INSTROOT` is set while an image is built."""
    return (
        "#!/bin/sh\n"
        '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
        '[ -s "${IPKG_INSTROOT}/lib/functions.sh" ] || exit 0\n'
        '. "${IPKG_INSTROOT}/lib/functions.sh"\n'
        f'{before}{function} "$0" "$@"\n'
    )
