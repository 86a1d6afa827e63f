"""Packages of dpkg: an `ar` archive of `debian-binary`, `control.tar.xz` and `data.tar.xz`."""

import hashlib
import lzma
import textwrap

from . import project as about
from .contents import CONFIG
from .tree import Tree

SCRIPTS = ["postinst", "postrm", "prerm"]


def package(project, tree, arch):
    """Name and bytes of the package."""
    control = Tree()
    control.add("control", fields(project, tree, arch).encode())
    control.add("conffiles", f"/{CONFIG}\n".encode())
    control.add("md5sums", sums(tree).encode())
    for name in SCRIPTS:
        control.add(name, (project.root / "cross/debian" / name).read_bytes(), 0o755)
    members = [("debian-binary", b"2.0\n")]
    for name, inner in [("control", control), ("data", tree)]:
        members.append((f"{name}.tar.xz", lzma.compress(inner.tar(project.epoch), preset=9)))
    name = f"onebox_{project.deb_version()}_{arch}.deb"
    return name, ar(members, project.epoch)


def ar(members, epoch):
    out = b"!<arch>\n"
    for name, data in members:
        # Name, time, owner, group, mode, size.
        out += f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def fields(project, tree, arch):
    # A file takes whole kibibytes, a directory one.
    size_kib = sum(-(-len(entry.data or b"x") // 1024) for _, entry in tree.sorted())
    return (
        "Package: onebox\n"
        f"Version: {project.deb_version()}\n"
        f"Architecture: {arch}\n"
        f"Maintainer: {about.MAINTAINER}\n"
        f"Installed-Size: {size_kib}\n"
        f"Depends: {', '.join(about.DEBIAN_DEPENDS)}\n"
        f"Homepage: {about.URL}\n"
        "Section: net\n"
        "Priority: optional\n"
        f"Description: {about.TITLE}\n"
        f"{long_description(project)}\n"
    )


def long_description(project):
    return "\n".join(textwrap.wrap(f"{project.description}.", 79, initial_indent=" ",
                                   subsequent_indent=" "))


def sums(tree):
    """As md5sum prints them; dpkg does not list configuration here, which may change."""
    return "".join(f"{hashlib.md5(entry.data).hexdigest()}  {path}\n"
                   for path, entry in tree.files() if path != CONFIG)
