"""What is in the packages, read back; for every architecture, without any tool of a distribution."""

import hashlib
import json
import platform
import re

import readers
from common import DEBIAN, EPOCH, OPENWRT, ROOT, Case, program, project
from packaging import project as about

# Modes that are not 0755 for directories and programs and 0644 for all else.
MODES = {"etc/config/onebox": 0o600, "etc/onebox": 0o700}
PROGRAMS = re.compile(r"usr/sbin/onebox|etc/init\.d/.*|lib/netifd/proto/.*\.sh")


class Openwrt(Case):
    def sources(self):
        return {inside + path.relative_to(source).as_posix(): path.read_bytes()
                for inside, source in [("", ROOT / "openwrt/files"), ("etc/init.d/", ROOT / "init.d")]
                for path in source.rglob("*") if path.is_file()}

    def check_modes(self, path, mode, directory):
        usual = 0o755 if directory or PROGRAMS.fullmatch(path) else 0o644
        self.assertEqual(mode, MODES.get(path, usual), path)

    def test_ipk(self):
        for arch in OPENWRT:
            path = self.package(arch, out=arch)[".ipk"]
            outer, raw, data, control = readers.ipk(path)
            # No member may be a header of pax, which opkg takes for a file.
            for archive in raw.values():
                kinds = {archive[at + 156:at + 157] for at in headers(archive)}
                self.assertLessEqual(kinds, {b"0", b"5"})
            self.assertEqual(outer, ["./debian-binary", "./data.tar.gz", "./control.tar.gz"])
            for name, (member, _) in (data | control).items():
                self.assertEqual((member.uid, member.gid, member.mtime), (0, 0, EPOCH), name)
            for name, (member, _) in data.items():
                if name != ".":
                    self.check_modes(name.removeprefix("./"), member.mode, member.isdir())
            self.assertEqual({name.removeprefix("./"): content for name, (_, content) in data.items()
                              if content is not None},
                             self.sources() | {"usr/sbin/onebox": program(arch)})
            self.check_control(arch, path, data, control)

    def check_control(self, arch, path, data, control):
        arch = {"riscv64_generic": "riscv64_riscv64"}.get(arch, arch)
        fields = readers.fields(control["./control"][1])
        version = f"{project().version}-r{project().release}"
        size = sum(len(content) for _, content in data.values() if content)
        for name, value in {"Package": "onebox", "Version": version, "Architecture": arch,
                            "Depends": ", ".join(about.OPENWRT_DEPENDS), "Section": "net",
                            "License": "MIT OR Apache-2.0", "Installed-Size": str(size),
                            "Require-User": "onebox:onebox"}.items():
            self.assertEqual(fields[name], value, name)
        self.assertEqual(path.name, f"onebox_{version}_{arch}.ipk")
        self.assertEqual(control["./conffiles"][1], b"/etc/config/onebox\n")
        for script, function in {"postinst": b"default_postinst", "prerm": b"default_prerm"}.items():
            member, text = control[f"./{script}"]
            self.assertEqual(member.mode, 0o755)
            self.assertEqual(text.splitlines()[-1], function + b' "$0" "$@"')

    def test_apk(self):
        for arch in OPENWRT:
            path = self.package(arch, out=arch)[".apk"]
            apk = readers.Apk(path)
            version = f"{project().version}-r{project().release}"
            self.assertEqual(path.name, f"onebox_{version}_{arch}.apk")
            for name, value in {"name": "onebox", "version": version, "arch": arch,
                                "license": "MIT OR Apache-2.0"}.items():
                self.assertEqual(apk.text(apk.info[name]), value, name)
            depends = [apk.text(apk.values(item)[0]) for item in apk.values(apk.info["depends"])]
            self.assertEqual(depends, about.OPENWRT_DEPENDS)
            self.check_files(apk, arch)
            self.assertEqual(set(apk.scripts), {"post-install", "pre-deinstall", "post-upgrade"})
            # What tells one package from another is the hash of the tree without it.
            identity = apk.blob(apk.info["hashes"])
            self.assertEqual(apk.adb.count(identity), 1)
            blank = apk.adb.replace(identity, bytes(20))
            self.assertEqual(identity, hashlib.sha256(blank).digest()[:20])

    def check_files(self, apk, arch):
        size = 0
        for directory in apk.directories:
            path = directory["name"]
            self.assertEqual(directory["acl"][1:], ("root", "root"))
            self.check_modes(path, directory["acl"][0], True)
            for file in directory["files"]:
                name = f"{path}/{file['name']}"
                content = apk.contents[name]
                size += len(content)
                self.assertEqual(file["acl"][1:], ("root", "root"), name)
                self.check_modes(name, file["acl"][0], False)
                self.assertEqual((file["size"], file["mtime"]), (len(content), EPOCH), name)
                self.assertEqual(file["hash"], hashlib.sha256(content).digest(), name)
        self.assertEqual(apk.number(apk.info["installed-size"]), size)
        lists = {name: apk.contents.pop(name) for name in list(apk.contents)
                 if name.startswith("lib/apk/")}
        files = self.sources() | {"usr/sbin/onebox": program(arch)}
        self.assertEqual(apk.contents, files)
        own = "lib/apk/packages/onebox"
        listed = sorted(files) + [f"{own}.rusers"]
        self.assertEqual(lists[f"{own}.list"].decode().split(), sorted(f"/{n}" for n in listed))
        config = hashlib.sha256(files["etc/config/onebox"]).hexdigest()
        self.assertEqual(lists[f"{own}.conffiles"], b"/etc/config/onebox\n")
        self.assertEqual(lists[f"{own}.conffiles_static"].decode(), f"/etc/config/onebox {config}\n")
        self.assertEqual(lists[f"{own}.rusers"], b"onebox:onebox\n")

    def test_json_is_valid(self):
        for name, text in self.sources().items():
            if name.endswith(".json"):
                json.loads(text)

    def test_feed_has_the_version_of_cargo(self):
        makefile = (ROOT / "openwrt/onebox/Makefile").read_text()
        for line in [f"PKG_VERSION:={project().version}", f"PKG_LICENSE:={project().license}",
                     f"PKG_MAINTAINER:={about.MAINTAINER}", f"  URL:={about.URL}",
                     "  USERID:=onebox:onebox"]:
            self.assertIn(line, makefile.splitlines())
        depends = re.search(r"^  DEPENDS:=(.*)$", makefile, re.M)[1].split()[1:]
        self.assertEqual(depends, [f"+{name}" for name in about.OPENWRT_DEPENDS])


class Debian(Case):
    def test_deb(self):
        for arch in DEBIAN:
            path = self.package(arch, out=arch)[".deb"]
            outer, _, data, control = readers.deb(path)
            self.assertEqual(outer, ["debian-binary", "control.tar.xz", "data.tar.xz"])
            fields = readers.fields(control["./control"][1])
            version = f"{project().version}-{project().release}"
            self.assertEqual(path.name, f"onebox_{version}_{arch}.deb")
            self.assertEqual((fields["Package"], fields["Version"], fields["Architecture"]),
                             ("onebox", version, arch))
            self.assertEqual(control["./conffiles"][1], b"/etc/config/onebox\n")
            for name, (member, _) in (data | control).items():
                self.assertEqual((member.uid, member.gid, member.mtime), (0, 0, EPOCH), name)
            modes = {name: data[f"./{name}"][0].mode for name in
                     ["etc/config/onebox", "etc/onebox", "usr/sbin/onebox",
                      "lib/systemd/system/onebox.service",
                      "lib/systemd/system/onebox-stop.service"]}
            self.assertEqual(list(modes.values()), [0o600, 0o700, 0o755, 0o644, 0o644])
            for line in control["./md5sums"][1].decode().splitlines():
                digest, name = line.split("  ")
                self.assertEqual(hashlib.md5(data[f"./{name}"][1]).hexdigest(), digest)


class Program(Case):
    def refused(self, arch, data, *options):
        binary = self.dir / "program"
        binary.write_bytes(data)
        binary.chmod(0o755)
        status, said = self.call(ROOT / "cross/package", arch, "--binary", binary, "--out", self.dir,
                                 *options)
        self.assertEqual(status, 1, said)
        self.assertEqual(sorted(self.dir.glob("onebox*")), [])
        return said

    def test_of_another_architecture(self):
        for arch, other in [("mips_24kc", "mipsel_24kc"), ("aarch64_generic", "x86_64"),
                            ("x86_64", "aarch64"), ("arm64", "x86_64")]:
            self.assertIn("no program for", self.refused(arch, program(other), "--no-run"))

    def test_that_needs_shared_libraries(self):
        for arch in ["x86_64", "mips_24kc"]:
            said = self.refused(arch, program(arch, interpreter=True), "--no-run")
            self.assertIn("needs shared libraries", said)

    def test_that_is_cut_short(self):
        self.assertIn("cut short", self.refused("x86_64", program("x86_64")[:40], "--no-run"))

    def test_of_another_version(self):
        if platform.machine() != "x86_64":
            self.skipTest("not x86_64")
        said = self.refused("x86_64", program("x86_64", version="9.9.9"))
        self.assertIn("says it is 'onebox 9.9.9'", said)
        self.package("x86_64", run=True)

    def test_for_an_unknown_architecture(self):
        self.assertIn("unknown architecture", self.refused("sparc", program("x86_64"), "--no-run"))


    def test_from_cross_build(self):
        root = self.project_copy()
        for arch in OPENWRT:
            (root / arch).write_bytes(program(arch))
        build = root / "cross/build"
        build.write_text('#!/bin/sh\necho building; echo "$1" >> calls; echo "$1"\n')
        build.chmod(0o755)
        said = self.run_ok("sh", "-c", f"cd {root} && cross/package --no-run all")
        lines = [line.split() for line in said.splitlines()]
        sizes = {path.name: path.stat().st_size for path in (root / "target/packages").iterdir()}
        self.assertEqual({path.rpartition("/")[2]: int(size) for path, size in lines}, sizes)
        # And the pages for LuCI with two languages and the protocol, for every processor.
        self.assertEqual(len(sizes), 2 * (len(OPENWRT) + 4) + len(DEBIAN))
        # Debian's are those of routers with the same processor.
        self.assertEqual(sorted((root / "calls").read_text().split()), OPENWRT)

    def test_that_cross_build_does_not_make(self):
        root = self.project_copy()
        build = root / "cross/build"
        for script, words in [("exit 3", "has failed (exit code 3)"), ("true", "has failed")]:
            build.write_text(f"#!/bin/sh\n{script}\n")
            build.chmod(0o755)
            status, said = self.call(root / "cross/package", "x86_64")
            self.assertEqual(status, 1, said)
            self.assertIn(words, said)


class Reproducible(Case):
    def test_same_bytes_twice(self):
        for arch in ["mips_24kc", "amd64"]:
            first = self.package(arch, out="first")
            second = self.package(arch, out="second", LC_ALL="C", TZ="Asia/Tokyo", USER="nobody")
            for suffix, path in first.items():
                self.assertEqual(path.read_bytes(), second[suffix].read_bytes(), path.name)


class Versions(Case):
    def test_early_versions(self):
        early = type(project())(ROOT)
        early.version, early.release = "1.2.0-beta.3", 2
        self.assertEqual(early.ipk_version(), "1.2.0~beta3-r2")
        self.assertEqual(early.apk_version(), "1.2.0_beta3-r2")
        self.assertEqual(early.deb_version(), "1.2.0~beta3-2")


def headers(archive):
    """Where the headers of a tar archive are."""
    at = 0
    while archive[at:at + 1] not in (b"", b"\0"):
        yield at
        at += 512 + -(-int(archive[at + 124:at + 135], 8) // 512) * 512
