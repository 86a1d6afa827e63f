"""The package with apk itself: as `apk mkpkg` makes it, installed, updated, removed."""

import os
import pathlib
import shutil
import subprocess
import zlib

import readers
from common import EPOCH, ROOT, Case, program, project
from packaging import apk as writer
from packaging import contents
from packaging import project as about

# The functions of the base system that the scripts call; these tell that they were.
FUNCTIONS = """
say() { echo "$* $pkgname $PKG_UPGRADE" >> /calls; }
add_group_and_user() { say user; }
default_postinst() { say postinst; }
default_prerm() { say prerm; }
"""


class Apk(Case):
    def setUp(self):
        super().setUp()
        self.need("apk")
        if not self.run_ok("apk", "--version").startswith("apk-tools 3"):
            self.skipTest("apk is not apk-tools 3")
        self.root = self.dir / "root"
        self.root.mkdir()

    def mkpkg(self, out, files, info, scripts=(), compression="none"):
        words = ["--compression", compression, "--files", files, "--output", out]
        for name, value in info.items():
            words += ["--info", f"{name}:{value}"]
        for name, text in scripts:
            (self.dir / name).write_text(text)
            words += ["--script", f"{name}:{self.dir / name}"]
        self.run_ok("apk", "mkpkg", *words, env={"SOURCE_DATE_EPOCH": str(EPOCH)})

    def test_same_bytes_as_mkpkg(self):
        packages = [contents.openwrt(project(), program("x86_64"), "x86_64"),
                    *contents.luci(project())]
        stamped = type(project())(ROOT)
        stamped.epoch = EPOCH
        for number, package in enumerate(packages):
            self.compare(stamped, package, self.dir / f"files{number}")

    def compare(self, stamped, package, files):
        _, ours = writer.pack_up(stamped, package)
        files.mkdir()
        for path, entry in writer.with_lists(package).sorted():
            file = files / path
            if entry.data is None:
                file.mkdir()
            else:
                file.write_bytes(entry.data)
            file.chmod(entry.mode)
        files.chmod(0o755)
        if os.geteuid() == 0:
            self.run_ok("chown", "-R", "0:0", files)
        file, theirs = self.dir / "ours.apk", self.dir / "theirs.apk"
        file.write_bytes(ours)
        arch = readers.Apk(file).text(readers.Apk(file).info["arch"])
        self.mkpkg(theirs, files, {
            "name": package.name, "version": project().apk_version(), "arch": arch,
            "description": package.description, "license": project().license,
            "origin": package.origin, "maintainer": about.MAINTAINER, "url": about.URL,
            "depends": " ".join(package.depends)}, readers.Apk(file).scripts.items())
        self.assertEqual(zlib.decompress(ours[4:], -zlib.MAX_WBITS), theirs.read_bytes())

    def apk(self, *words):
        return self.call("apk", "--root", self.root, "--arch", "x86_64", "--no-network",
                         "--repositories-file", "/dev/null", *words)

    def apk_ok(self, *words):
        status, said = self.apk("--allow-untrusted", *words)
        self.assertEqual(status, 0, said)
        self.assertNotIn("ERROR", said)
        return said

    def test_all_its_life(self):
        self.need("chroot")
        shell(self.root)
        (self.root / "lib/functions.sh").write_text(FUNCTIONS)
        self.apk_ok("add", "--initdb")
        package = self.package("x86_64")[".apk"]
        status, said = self.apk("add", "--allow-untrusted", package)
        self.assertNotEqual(status, 0)
        self.assertIn("kmod-tun (no such package)", said)
        (self.dir / "empty").mkdir()
        for name in about.OPENWRT_DEPENDS:
            self.mkpkg(self.dir / f"{name}.apk", self.dir / "empty",
                       {"name": name, "version": "1", "arch": "noarch"}, compression="deflate")
            self.apk_ok("add", self.dir / f"{name}.apk")
        before = self.files(self.root)
        status, said = self.apk("add", package)
        self.assertNotEqual(status, 0)
        self.assertIn("UNTRUSTED signature", said)

        self.apk_ok("add", package)
        self.assertEqual(self.calls(), ["user onebox", "postinst onebox"])
        installed = self.root / "usr/sbin/onebox"
        self.assertEqual(installed.read_bytes(), program("x86_64"))
        config = self.root / "etc/config/onebox"
        for path, mode in [(installed, 0o755), (config, 0o600), (self.root / "etc/onebox", 0o700)]:
            status = path.stat()
            self.assertEqual((status.st_mode & 0o7777, status.st_uid, status.st_gid), (mode, 0, 0))
        # What the package says of its files is what apk finds.
        audit = self.apk_ok("audit", "--full", "--check-permissions", "--recursive")
        self.assertNotIn("onebox", audit)

        with open(config, "a") as file:
            file.write("# changed\n")
        changed = config.read_text()
        self.apk_ok("add", self.later_package("x86_64")[".apk"])
        self.assertEqual(config.read_text(), changed)
        self.assertIn("# new", (self.root / "etc/config/onebox.apk-new").read_text())
        self.assertEqual(self.calls(), ["user onebox 1", "postinst onebox 1"])

        os.replace(self.root / "etc/config/onebox.apk-new", config)
        self.apk_ok("del", "onebox")
        self.assertEqual(self.calls(), ["prerm onebox"])
        self.assertEqual(self.files(self.root), before)

    def test_pages(self):
        self.need("chroot")
        shell(self.root)
        (self.root / "lib/functions.sh").write_text(FUNCTIONS)
        (self.root / "usr/bin").mkdir(parents=True, exist_ok=True)
        for name in ["rm", "killall"]:
            tool = self.root / f"usr/bin/{name}"
            tool.write_text(f'#!/bin/sh\necho "{name} $*" >> /calls\n')
            tool.chmod(0o755)
        self.apk_ok("add", "--initdb")
        (self.dir / "empty").mkdir()
        for name in ["luci-base", "onebox"]:
            self.mkpkg(self.dir / f"{name}.apk", self.dir / "empty",
                       {"name": name, "version": "1", "arch": "noarch"}, compression="deflate")
            self.apk_ok("add", self.dir / f"{name}.apk")
        before = self.files(self.root)
        self.apk_ok("add", *self.pages(".apk"))
        calls = self.calls()
        self.assertEqual(calls.count("killall -q -HUP rpcd"), 4)
        self.assertIn("postinst luci-app-onebox", calls)
        plugin = self.root / "usr/libexec/rpcd/luci.onebox"
        self.assertEqual(plugin.stat().st_mode & 0o7777, 0o755)
        self.assertTrue((self.root / "usr/lib/lua/luci/i18n/onebox.es.lmo").exists())
        self.assertNotIn("onebox", self.apk_ok("audit", "--full", "--check-permissions", "--recursive"))
        self.apk_ok("del", "luci-i18n-onebox-de", "luci-i18n-onebox-es", "luci-app-onebox", "luci-proto-onebox")
        self.calls()
        self.assertEqual(self.files(self.root), before)

    def calls(self):
        file = self.root / "calls"
        text = file.read_text()
        file.unlink()
        return [line.strip() for line in text.splitlines()]

    def test_other_architecture_is_refused(self):
        self.apk_ok("add", "--initdb")
        status, _ = self.apk("add", "--allow-untrusted", self.package("mips_24kc")[".apk"])
        self.assertNotEqual(status, 0)


def shell(root):
    """A shell and its libraries for the scripts, which run inside of the root."""
    words = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True).stdout.split()
    for name in ["/bin/sh", *(word for word in words if word.startswith("/"))]:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pathlib.Path(name).resolve(), target)
