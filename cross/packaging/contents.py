"""What is in a package.

OpenWrt's has the program and everything below `openwrt/files` and `init.d`, Debian's the program, the systemd units,
a server's configuration and what Debian asks for below `/usr/share/doc`. Configuration may hold
secrets and the directory of keys does: both are root's alone. The pages for LuCI are a package of
their own, for every architecture, each of their languages is one, and so is the protocol on LuCI's page of
interfaces.
"""

import dataclasses
import email.utils
import gzip

from . import project as about
from .lmo import lmo
from .minify import minify
from .project import MAINTAINER
from .tree import Tree

PROGRAM = "usr/sbin/onebox"
CONFIG = "etc/config/onebox"
KEYS = "etc/onebox"
UNITS = "lib/systemd/system"
LUCI = "luci-app-onebox"
PROTO = "luci-proto-onebox"
# LuCI's name of each language that its pages can be shown in.
LANGUAGES = {"de": "Deutsch (German)", "es": "Español (Spanish)"}
# For any processor; apk has another word for it.
ALL = "all"
# LuCI remembers its menu, rpcd the access lists.
FORGET = (
    'if [ -z "${IPKG_INSTROOT}" ]; then\n'
    "\trm -rf /tmp/luci-indexcache* /tmp/luci-modulecache\n"
    "\tkillall -q -HUP rpcd\n"
    "fi\n"
)


@dataclasses.dataclass(frozen=True)
class Package:
    """A package of OpenWrt, in either format."""
    name: str
    # What it is built from, together with others.
    origin: str
    arch: str
    description: str
    section: str
    depends: list
    tree: Tree
    # The file that is the user's to change.
    config: str | None = None
    # User and group that the package needs.
    user: str | None = None
    # Commands of a shell: after installation and update, and after an update alone.
    installed: str = ""
    updated: str = ""


# netifd reads what protocols there are when it starts, and to start it anew interrupts everything.
UNKNOWN = (
    'if [ -z "${IPKG_INSTROOT}" ] && ubus -S call network get_proto_handlers 2> /dev/null |\n'
    "\tgrep -qv '\"onebox\"'; then\n"
    "\techo \"onebox: as an interface of the network ('proto onebox') the tunnel works after a restart of\"\n"
    "\techo \"the router, or of the network: /etc/init.d/network restart\"\n"
    "fi\n"
)


def openwrt(project, program, arch):
    tree = Tree()
    tree.add_directory(project.root / "openwrt/files")
    tree.add_directory(project.root / "init.d", lambda path: f"etc/init.d/{path}")
    return Package(
        "onebox", "onebox", arch, project.description, "net", about.OPENWRT_DEPENDS,
        with_program(tree, program), CONFIG, about.OPENWRT_USER, installed=UNKNOWN, updated=RESTART)


# The service manager starts a service that runs anew only if its command line has changed.
RESTART = (
    'if [ -z "$root" ] && /etc/init.d/onebox running; then\n'
    "\t/etc/init.d/onebox restart\n"
    "fi\n"
)


def luci(project):
    """The pages, their languages, and the tunnel on LuCI's page of interfaces."""
    for name, description, depends in [
            (LUCI, "State, set-up and settings of onebox in LuCI", ["luci-base", PROTO, "onebox"]),
            (PROTO, "Protocol onebox on LuCI's page of interfaces", ["luci-base", "onebox"])]:
        source = project.root / "luci-app" / name
        tree = Tree()
        tree.add_directory(source / "htdocs", lambda path: f"www/{path}", minify)
        tree.add_directory(source / "root")
        yield Package(name, name, ALL, description, "luci", depends, tree, installed=FORGET)
    source = project.root / "luci-app" / LUCI
    for language, title in LANGUAGES.items():
        tree = Tree()
        name = f"luci-i18n-onebox-{language}"
        catalogue = source / f"po/{language}/onebox.po"
        tree.add(f"usr/lib/lua/luci/i18n/onebox.{language}.lmo", lmo(catalogue.read_text()))
        # Runs once, by the default scripts.
        tree.add(f"etc/uci-defaults/{name}",
                 f"uci set luci.languages.{language}='{title}'; uci commit luci\n".encode())
        yield Package(name, LUCI, ALL, f"Translation for {LUCI}: {title}", "luci", [LUCI], tree,
                      installed=FORGET)


def debian(project, program):
    tree = Tree()
    source = project.root / "cross/debian"
    tree.add(CONFIG, (source / "onebox.config").read_bytes())
    for unit in ["onebox.service", "onebox-stop.service"]:
        tree.add(f"{UNITS}/{unit}", (source / unit).read_bytes())
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
