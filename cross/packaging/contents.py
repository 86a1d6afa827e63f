"""What is in a package.

OpenWrt's has the program and everything below `openwrt/files`, Debian's the program, the systemd unit,
a server's configuration and what Debian asks for below `/usr/share/doc`. Configuration may hold
secrets and the directory of keys does: both are root's alone.
"""

import email.utils
import gzip

from .project import MAINTAINER
from .tree import Tree

PROGRAM = "usr/sbin/onebox"
CONFIG = "etc/config/onebox"
KEYS = "etc/onebox"
UNIT = "lib/systemd/system/onebox.service"


def openwrt(project, program):
    tree = Tree()
    tree.add_directory(project.root / "openwrt/files")
    return with_program(tree, program)


def debian(project, program):
    tree = Tree()
    source = project.root / "cross/debian"
    tree.add(CONFIG, (source / "onebox.config").read_bytes())
    tree.add(UNIT, (source / "onebox.service").read_bytes())
    doc = "usr/share/doc/onebox"
    tree.add(f"{doc}/copyright", copyright_file(project))
    texts = {"changelog.Debian": debian_changelog(project)}
    for name, source in [("changelog", "CHANGELOG.md"), ("README.md", "README.md")]:
        texts[name] = (project.root / source).read_bytes()
    for name, text in texts.items():
        tree.add(f"{doc}/{name}.gz", gzip.compress(text, 9, mtime=0))
    return with_program(tree, program)


def with_program(tree, program):
    tree.add(PROGRAM, program, 0o755)
    tree.add(CONFIG, tree.entries[CONFIG].data, 0o600)
    tree.add(KEYS, None, 0o700)
    return tree


def copyright_file(project):
    """Both licenses; the text of Apache's is part of every Debian system."""
    mit = (project.root / "LICENSE-MIT").read_text().strip()
    return (
        "onebox is licensed under MIT or Apache-2.0, at your choice.\n\n"
        f"{mit}\n\n"
        "The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n"
    ).encode()


def debian_changelog(project):
    """What dpkg-parsechangelog reads; what has changed is in the changelog proper."""
    date = email.utils.formatdate(project.epoch)
    return (
        f"onebox ({project.deb_version()}) stable; urgency=medium\n\n"
        f"  * Version {project.version}, see changelog.gz.\n\n"
        f" -- {MAINTAINER}  {date}\n"
    ).encode()
