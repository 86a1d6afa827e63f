"""The signed feed: its keys, and what opkg, usign and apk make of it and of one that was changed."""

import gzip
import shutil
import zlib

import readers
from common import EPOCH, ROOT, Case, program, project
from packaging import project as about
from test_opkg import dependency

# What OpenWrt's opkg-key does.
VERIFY = """#!/bin/sh
[ "$1" = verify ] || exit 1
(zcat "$3" 2> /dev/null || cat "$3") | {usign} -V -q -P {keys} -x "$2" -m -
"""
ARCH = "x86_64"


class Signed(Case):
    def setUp(self):
        super().setUp()
        self.need("openssl", root=False)
        self.keys = self.dir / "config/keys"
        self.feed = self.make()

    def make(self, keys=None):
        binary = self.dir / "program"
        binary.write_bytes(program(ARCH))
        binary.chmod(0o755)
        self.run_ok(ROOT / "cross/package", "feed", ARCH, "--binary", binary, "--no-run",
                    "--keys", keys or self.keys, "--out", self.dir / "out",
                    env={"SOURCE_DATE_EPOCH": str(EPOCH)})
        return self.dir / "out/feed"

    def public(self):
        return next((self.feed / "keys/opkg").iterdir())

    def test_keys_are_the_users_alone_and_stay(self):
        files = {path.name: path.read_bytes() for path in self.keys.iterdir()}
        self.assertEqual(sorted(files), ["apk.key", "opkg.key"])
        self.assertEqual(self.keys.stat().st_mode & 0o7777, 0o700)
        for path in self.keys.iterdir():
            self.assertEqual(path.stat().st_mode & 0o7777, 0o600)
        listed = (self.feed / ARCH / "Packages").read_bytes()
        signed = (self.feed / ARCH / "Packages.sig").read_bytes()
        self.make()
        self.assertEqual({path.name: path.read_bytes() for path in self.keys.iterdir()}, files)
        # Ed25519 draws nothing.
        self.assertEqual((self.feed / ARCH / "Packages").read_bytes(), listed)
        self.assertEqual((self.feed / ARCH / "Packages.sig").read_bytes(), signed)
        # No private key in what is published.
        for path in self.files(self.feed):
            self.assertNotIn(b"PRIVATE", (self.feed / path).read_bytes())

    def test_keys_that_others_may_read_or_of_the_repository_are_refused(self):
        (self.keys / "apk.key").chmod(0o640)
        words = [ROOT / "cross/package", "feed", ARCH, "--binary", self.dir / "program", "--no-run",
                 "--out", self.dir / "out", "--keys"]
        status, said = self.call(*words, self.keys)
        self.assertNotEqual(status, 0)
        self.assertIn("others may read this private key", said)
        status, said = self.call(*words, ROOT / "target/keys")
        self.assertNotEqual(status, 0)
        self.assertIn("do not belong into the repository", said)
        self.assertFalse((ROOT / "target/keys").exists())

    def test_lists_describe_the_files(self):
        directory = self.feed / ARCH
        listed = (directory / "Packages").read_text()
        self.assertEqual(gzip.decompress((directory / "Packages.gz").read_bytes()).decode(), listed)
        names = [path.name for path in directory.glob("*.ipk")]
        # The program, the pages, two languages, the protocol for LuCI's page of interfaces.
        self.assertEqual(len(names), 5)
        for name in names:
            self.assertIn(f"Filename: {name}\nSize: {(directory / name).stat().st_size}\n", listed)
        raw = zlib.decompress((directory / "packages.adb").read_bytes()[4:], -zlib.MAX_WBITS)
        self.assertEqual(raw[:8], b"ADB.indx")
        self.assertTrue((directory / f"onebox-{project().apk_version()}.apk").exists())
        readers.Apk(directory / f"onebox-{project().apk_version()}.apk")

    def test_usign(self):
        self.need("usign", root=False)
        words = ["usign", "-V", "-m", self.feed / ARCH / "Packages"]
        self.run_ok(*words, "-p", self.public())
        self.run_ok(*words, "-P", self.public().parent)
        number = self.run_ok("usign", "-F", "-p", self.public()).strip()
        self.assertEqual(number, self.public().name)
        with open(self.feed / ARCH / "Packages", "a") as listed:
            listed.write("\n")
        self.assertNotEqual(self.call(*words, "-p", self.public())[0], 0)

    def test_opkg_installs_what_is_signed_and_nothing_else(self):
        self.need("opkg", "usign")
        root = self.dir / "root"
        for name in ["etc", "lib", "tmp", "usr/lib/opkg", "var/lock", "var/opkg-lists"]:
            (root / name).mkdir(parents=True)
        (root / "lib/functions.sh").write_text("default_postinst() { :; }\n")
        known = self.dir / "known"
        shutil.copytree(self.public().parent, known)
        verify = self.dir / "opkg-key"
        verify.write_text(VERIFY.format(usign=shutil.which("usign"), keys=known))
        verify.chmod(0o755)
        (root / "etc/opkg.conf").write_text(
            "dest root /\nlists_dir ext /var/opkg-lists\narch all 1\narch x86_64 10\n"
            f"option check_signature 1\noption verify_program {verify}\n"
            f"src/gz onebox file:{self.feed / ARCH}\n")
        opkg = ["opkg", "-o", root, "-f", root / "etc/opkg.conf", "--force-postinstall"]
        image = {"IPKG_INSTROOT": str(root)}
        said = self.run_ok(*opkg, "update", env=image)
        self.assertIn("Signature check passed", said)
        for name in [*about.OPENWRT_DEPENDS, "luci-base"]:
            file = self.dir / f"{name}.ipk"
            file.write_bytes(dependency(name))
            self.run_ok(*opkg, "install", file, env=image)
        said = self.run_ok(*opkg, "install", "onebox", env=image)
        self.assertNotIn("Collected errors", said)
        self.assertEqual((root / "usr/sbin/onebox").read_bytes(), program(ARCH))

        # Another list, another package, another key.
        package = next((self.feed / ARCH).glob("luci-app*.ipk"))
        package.write_bytes(package.read_bytes()[:-1] + b"x")
        status, said = self.call(*opkg, "install", "luci-app-onebox", env=image)
        self.assertNotEqual(status, 0, said)
        self.make(self.dir / "config/other")
        self.assertIn("Signature check failed", self.call(*opkg, "update", env=image)[1])

    def test_apk_installs_what_is_signed_and_nothing_else(self):
        self.need("apk")
        root = self.dir / "root"
        (root / "etc/apk/keys").mkdir(parents=True)
        key = self.feed / "keys/apk/onebox-feed.pem"
        (root / "etc/apk/keys/onebox-feed.pem").write_bytes(key.read_bytes())
        repositories = self.dir / "repositories"
        repositories.write_text(f"{self.feed / ARCH}/packages.adb\n")
        apk = ["apk", "--root", root, "--arch", ARCH, "--no-network",
               "--repositories-file", repositories]
        self.run_ok(*apk, "add", "--initdb")
        index = self.feed / ARCH / "packages.adb"
        self.run_ok("apk", "verify", "--keys-dir", key.parent, index)
        status, said = self.call(*apk, "add", "onebox")
        # All that is missing is what a router has.
        self.assertNotEqual(status, 0)
        self.assertIn("kmod-tun (no such package)", said)
        self.empty(*about.OPENWRT_DEPENDS)
        repositories.write_text(f"{index}\n{self.dir}/empty/packages.adb\n")
        said = self.run_ok(*apk, "add", "--no-scripts", "onebox")
        self.assertNotIn("ERROR", said)
        self.assertEqual((root / "usr/sbin/onebox").read_bytes(), program(ARCH))

        self.make(self.dir / "config/other")
        repositories.write_text(f"{index}\n")
        status, said = self.call(*apk, "update")
        self.assertIn("UNTRUSTED signature", said)

    def empty(self, *names):
        """A feed of packages with nothing in them, signed with the same key."""
        folder = self.dir / "empty"
        (folder / "files").mkdir(parents=True)
        words = []
        for name in names:
            words.append(folder / f"{name}-1.apk")
            self.run_ok("apk", "mkpkg", "--compression", "deflate", "--files", folder / "files",
                        "--output", words[-1], "--info", f"name:{name}", "--info", "version:1",
                        "--info", "arch:noarch")
        self.run_ok("apk", "--sign-key", self.keys / "apk.key", "mkndx", "--allow-untrusted",
                    "--output", folder / "packages.adb", *words)
