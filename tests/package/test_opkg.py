"""The package with opkg itself: installed into a root of its own, updated, removed."""

import gzip
import os
import shutil

from common import Case, program
from packaging import project as about
from packaging.tree import Entry, Tree, tar

# The functions of the base system that the scripts call; these tell that they were.
FUNCTIONS = """
default_postinst() { echo "postinst $(basename "$1") $2 ${PKG_UPGRADE}" >> "${IPKG_INSTROOT}/calls"; }
default_prerm() { echo "prerm $(basename "$1") $2 ${PKG_UPGRADE}" >> "${IPKG_INSTROOT}/calls"; }
"""
CONF = "dest root /\nlists_dir ext /var/opkg-lists\narch all 1\narch x86_64 10\n"


def dependency(name):
    """A package with nothing in it."""
    control = Tree()
    control.add("control", f"Package: {name}\nVersion: 1\nArchitecture: all\n".encode())
    members = [("debian-binary", b"2.0\n"), ("data.tar.gz", gzip.compress(Tree().tar(0))),
               ("control.tar.gz", gzip.compress(control.tar(0)))]
    return gzip.compress(tar([(name, Entry(0o644, data)) for name, data in members], 0))


class Opkg(Case):
    def setUp(self):
        super().setUp()
        self.need("opkg")
        self.root = self.dir / "root"
        for name in ["etc", "lib", "tmp", "usr/lib/opkg", "var/lock", "var/opkg-lists"]:
            (self.root / name).mkdir(parents=True)
        (self.root / "lib/functions.sh").write_text(FUNCTIONS)
        (self.root / "etc/opkg.conf").write_text(CONF)
        self.dependencies = []
        for name in about.OPENWRT_DEPENDS:
            self.dependencies.append(self.dir / f"{name}.ipk")
            self.dependencies[-1].write_bytes(dependency(name))

    def opkg(self, *words):
        # As an image is built, where the scripts run outside of the root.
        return self.call("opkg", "-o", self.root, "-f", self.root / "etc/opkg.conf",
                         "--force-postinstall", *words, env={"IPKG_INSTROOT": str(self.root)})

    def opkg_ok(self, *words):
        status, said = self.opkg(*words)
        self.assertEqual(status, 0, said)
        # It reports success of an archive that it has not understood.
        self.assertNotIn("Collected errors", said)
        return said

    def calls(self):
        file = self.root / "calls"
        text = file.read_text()
        file.unlink()
        return [line.strip() for line in text.splitlines()]

    def test_all_its_life(self):
        ipk = self.package("x86_64")[".ipk"]
        status, said = self.opkg("install", ipk)
        self.assertNotEqual(status, 0)
        self.assertIn("cannot find dependency kmod-tun", said)
        self.opkg_ok("install", *self.dependencies)
        before = self.files(self.root)

        self.opkg_ok("install", ipk)
        self.assertEqual(self.calls(), ["postinst onebox.postinst configure 0"])
        installed = self.root / "usr/sbin/onebox"
        self.assertEqual(installed.read_bytes(), program("x86_64"))
        config = self.root / "etc/config/onebox"
        for path, mode in [(installed, 0o755), (config, 0o600), (self.root / "etc/onebox", 0o700)]:
            status = path.stat()
            self.assertEqual((status.st_mode & 0o7777, status.st_uid, status.st_gid), (mode, 0, 0))

        with open(config, "a") as file:
            file.write("# changed\n")
        changed = config.read_text()
        later = self.later_package("x86_64")[".ipk"]
        status, said = self.opkg("install", later)
        self.assertEqual(status, 0, said)
        self.assertIn("The new conffile will be placed at", said)
        self.assertEqual(config.read_text(), changed)
        self.assertIn("# new", (self.root / "etc/config/onebox-opkg").read_text())
        self.assertEqual(self.calls(), ["prerm onebox.prerm upgrade 1",
                                        "postinst onebox.postinst configure 1"])

        # A configuration as shipped goes with the package.
        shutil.copy(self.root / "etc/config/onebox-opkg", config)
        os.unlink(self.root / "etc/config/onebox-opkg")
        self.opkg_ok("remove", "onebox")
        self.assertIn("prerm onebox.prerm remove", "\n".join(self.calls()))
        self.assertEqual(self.files(self.root), before)

    def test_pages(self):
        for name in ["luci-base", "onebox"]:
            self.dependencies.append(self.dir / f"{name}.ipk")
            self.dependencies[-1].write_bytes(dependency(name))
        self.opkg_ok("install", *self.dependencies)
        before = self.files(self.root)
        self.opkg_ok("install", *self.pages(".ipk"))
        self.assertIn("postinst luci-app-onebox.postinst configure 0", self.calls())
        plugin = self.root / "usr/libexec/rpcd/luci.onebox"
        self.assertEqual(plugin.stat().st_mode & 0o7777, 0o755)
        self.assertTrue((self.root / "usr/lib/lua/luci/i18n/onebox.de.lmo").exists())
        self.opkg_ok("remove", "luci-i18n-onebox-de", "luci-i18n-onebox-es", "luci-app-onebox",
                     "luci-proto-onebox")
        self.calls()
        self.assertEqual(self.files(self.root), before)

    def test_changed_configuration_survives_removal(self):
        self.opkg_ok("install", *self.dependencies)
        self.opkg_ok("install", self.package("x86_64")[".ipk"])
        config = self.root / "etc/config/onebox"
        config.write_text("config onebox 'main'\n")
        self.opkg_ok("remove", "onebox")
        self.assertEqual(config.read_text(), "config onebox 'main'\n")
        self.assertFalse((self.root / "usr/sbin/onebox").exists())

    def test_other_architecture_is_refused(self):
        self.opkg_ok("install", *self.dependencies)
        status, said = self.opkg("install", self.package("mips_24kc")[".ipk"])
        self.assertNotEqual(status, 0)
        self.assertIn("incompatible with the architectures configured", said)
