"""What the feed brings along that runs: the tests of the build system, and the uci-defaults."""

import hashlib
import os
import pathlib
import tarfile

from common import ROOT, Case, SystemCase, project

DEFAULTS = "openwrt/files/etc/uci-defaults/50-onebox"
# Stands in for `uci`: knows whether there is a section, and writes down what it is told.
UCI = """#!/bin/sh
case "$*" in
*show*) cat /packages/sections 2> /dev/null ;;
*batch*) cat >> /packages/told ;;
esac
"""


def real_program():
    """The program itself, which has to be able to make keys; None if it is not built."""
    paths = [os.environ.get("ONEBOX_BIN"), ROOT / "target/release/onebox",
             ROOT / "target/debug/onebox"]
    return next((pathlib.Path(path) for path in paths if path and os.access(path, os.X_OK)), None)


class Feed(Case):
    def test_rpcd_finds_what_it_looks_for(self):
        """It reads so many lines of a service for the start of the pages' state."""
        lines = (ROOT / "init.d/onebox").read_text().splitlines()[:10]
        for word in ["START=90", "STOP=10", "USE_PROCD=1"]:
            self.assertIn(word, lines)

    def test_test_sh(self):
        program = real_program() or self.skipTest("onebox is not built")
        (self.dir / "onebox").symlink_to(program)
        script = self.dir / "test.sh"
        config = ROOT / "openwrt/files/etc/config/onebox"
        script.write_text((ROOT / "openwrt/onebox/test.sh").read_text().replace(
            "/etc/config/onebox", str(config)))
        path = {"PATH": f"{self.dir}:{os.environ['PATH']}"}
        self.run_ok("sh", script, "onebox", project().version, env=path)
        self.assertNotEqual(self.call("sh", script, "onebox", "9.9.9", env=path)[0], 0)
        self.run_ok("sh", script, "luci-app-onebox", "9.9.9", env=path)


    def shown(self, folder):
        """What the build system reads of a package's folder, with stand-ins for what it includes."""
        top = self.dir / "buildroot"
        for name in ["rules.mk", "include/package.mk", "feeds/packages/lang/rust/rust-package.mk"]:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text("")
        (top / "include/package.mk").write_text(
            "BuildPackage = show:;@echo $(PKG_NAME) $(PKG_SOURCE) $(PKG_HASH)\n")
        return self.run_ok("make", "--no-print-directory", "-C", folder, f"TOPDIR={top}",
                           f"INCLUDE_DIR={top}/include", "show").split()

    def test_the_folder_builds_the_tree_around_it(self):
        self.need("make", root=False)
        # What is no download has no source.
        self.assertEqual(self.shown(ROOT / "openwrt/onebox"), ["onebox", "skip"])

    def test_a_folder_for_other_feeds_knows_its_source(self):
        self.need("make", "git", root=False)
        if self.call("git", "-C", ROOT, "rev-parse", "HEAD")[0] != 0:
            self.skipTest("no repository")
        out = self.dir / "out"
        for _ in range(2):
            self.run_ok(ROOT / "cross/package", "source", "--out", out)
            archive = out / f"onebox-{project().version}.tar.gz"
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            self.assertEqual(self.shown(out / "onebox"), ["onebox", archive.name, digest])
        with tarfile.open(archive) as members:
            names = members.getnames()
        for name in ["Cargo.lock", "openwrt/files/etc/config/onebox", "init.d/onebox"]:
            self.assertIn(f"onebox-{project().version}/{name}", names)


class Defaults(SystemCase):
    def defaults(self, script):
        program = real_program() or self.skipTest("onebox is not built")
        for name, text in [("uci", UCI), ("killall", "#!/bin/sh\necho \"$@\" >> /packages/signals\n")]:
            (self.dir / name).write_text(text)
            (self.dir / name).chmod(0o755)
        # Those of the copy alone: the stand-ins, not what may be on PATH.
        prepare = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin; cp onebox /usr/sbin/onebox; cp uci killall /usr/bin/\n"
                   "mkdir -p /etc/config; touch /etc/config/onebox\n")
        onebox = self.dir / "onebox"
        onebox.write_bytes(program.read_bytes())
        onebox.chmod(0o755)
        return self.inside(prepare + script, onebox, ROOT / DEFAULTS, self.dir / "uci",
                           self.dir / "killall").splitlines()

    def test_first_installation(self):
        said = self.defaults("""
            rm /etc/config/onebox
            sh 50-onebox
            stat -c %a /etc/onebox /etc/onebox/private.key /etc/config/onebox
            wc -c < /etc/onebox/private.key
            ls /etc/onebox
            cat signals told
        """)
        self.assertEqual(said[:5], ["700", "600", "600", "45", "private.key"])
        self.assertEqual([line.strip() for line in said[5:]], [
            "-q -HUP ubusd rpcd", "set onebox.main=onebox", "set onebox.main.enabled='0'",
            "commit onebox"])

    def test_what_is_there_stays(self):
        said = self.defaults("""
            mkdir -m 700 /etc/onebox
            echo mine > /etc/onebox/private.key
            echo "onebox.tunnel=onebox" > sections
            sh 50-onebox
            sh 50-onebox
            cat /etc/onebox/private.key
            ls told 2> /dev/null || true
        """)
        self.assertEqual(said, ["mine"])
