"""The pages for LuCI and their languages, as packages of both kinds."""

import json
import struct

import readers
from common import EPOCH, ROOT, Case, project
from packaging import apk as apk_writer
from packaging import contents
from packaging.lmo import lmo

APP = ROOT / "luci-app/luci-app-onebox"
# Bytes of what the package of the pages installs.
SIZE_MAX = 75_000
# Of the protocol's.
PROTO_SIZE_MAX = 4_500
PLUGIN = "usr/libexec/rpcd/luci.onebox"
DEPENDS = {"luci-app-onebox": ["luci-base", "luci-proto-onebox", "onebox"],
           "luci-i18n-onebox-de": ["luci-app-onebox"], "luci-i18n-onebox-es": ["luci-app-onebox"],
           "luci-proto-onebox": ["luci-base", "onebox"]}


CATALOGUE = r"""msgid ""
msgstr ""
"Plural-Forms: nplurals=2; plural=n != 1;\n"

msgid "Status"
msgstr "Zustand"

msgid "Same"
msgstr "Same"

msgid "none"
msgstr ""

msgid "né"
msgstr "one more"

msgid "\"\\ é"
msgstr "\"ü\\\""
"""
# What is in it, by the hashes that LuCI's own tool gives.
READ = {0: (0, "nplurals=2; plural=n != 1;"),
        0x49f7f308: (1, "one more"), 0x663359c9: (1, "Zustand"), 0x7af6dcec: (1, '"ü\\"')}


class Luci(Case):
    def sources(self, name):
        """What LuCI's build installs without making anything smaller."""
        places = {"htdocs": "www/", "root": ""}
        return {place + path.relative_to(APP.parent / name / part).as_posix(): path.read_bytes()
                for part, place in places.items()
                for path in (APP.parent / name / part).rglob("*") if path.is_file()}

    def check_files(self, name, files, modes):
        for path, mode in modes.items():
            self.assertEqual(mode, 0o755 if path == PLUGIN else 0o644, path)
        if "i18n" in name:
            language = name.rpartition("-")[2]
            catalogue = f"usr/lib/lua/luci/i18n/onebox.{language}.lmo"
            defaults = f"etc/uci-defaults/{name}"
            self.assertEqual(sorted(files), [defaults, catalogue])
            self.assertRegex(files[defaults].decode(),
                             rf"^uci set luci\.languages\.{language}='\w+ \(\w+\)'; uci commit luci\n$")
            return
        sources = self.sources(name)
        self.assertEqual(sorted(files), sorted(sources))
        for path, content in files.items():
            if path.endswith((".js", ".css")):
                self.assertLess(len(content), len(sources[path]), path)
            else:
                self.assertEqual(content, sources[path], path)
            if path.endswith(".json"):
                json.loads(content)
        size = sum(map(len, files.values()))
        most = SIZE_MAX if name == "luci-app-onebox" else PROTO_SIZE_MAX
        self.assertLessEqual(size, most)
        self.assertGreater(size, most // 2)

    def test_packages(self):
        version = f"{project().version}-r{project().release}"
        wanted = [f"{name}_{version}_{end}" for name in DEPENDS for end in ["all.ipk", "noarch.apk"]]
        found = self.pages("")
        self.assertEqual([path.name for path in found], wanted)
        for path in found:
            name = path.name.split("_")[0]
            (self.check_ipk if path.suffix == ".ipk" else self.check_apk)(name, version, path)

    def check_ipk(self, name, version, path):
        _, _, data, control = readers.ipk(path)
        for member, (header, _) in (data | control).items():
            self.assertEqual((header.uid, header.gid, header.mtime), (0, 0, EPOCH), member)
        files = {member.removeprefix("./"): content for member, (_, content) in data.items()
                 if content is not None}
        self.check_files(name, files, {path: data[f"./{path}"][0].mode for path in files})
        size = sum(map(len, files.values()))
        fields = readers.fields(control["./control"][1])
        for field, value in {"Package": name, "Version": version, "Architecture": "all",
                             "Section": "luci", "Depends": ", ".join(DEPENDS[name]),
                             "Installed-Size": str(size)}.items():
            self.assertEqual(fields[field], value, field)
        self.assertNotIn("Require-User", fields)
        self.assertEqual(sorted(control), [".", "./control", "./postinst", "./prerm"])
        lines = control["./postinst"][1].decode().splitlines()
        self.assertEqual(lines[-1], 'default_postinst "$0" "$@"')
        self.assertIn("\tkillall -q -HUP rpcd", lines)

    def check_apk(self, name, version, path):
        apk = readers.Apk(path)
        lists = f"lib/apk/packages/{name}.list"
        files = dict(apk.contents)
        listed = files.pop(lists)
        self.assertEqual(listed.decode().split(), [f"/{path}" for path in sorted(files)])
        modes = {f"{directory['name']}/{file['name']}": file["acl"][0]
                 for directory in apk.directories for file in directory["files"]}
        self.assertEqual(modes.pop(lists), 0o644)
        self.check_files(name, files, modes)
        for field, value in {"name": name, "version": version, "arch": "noarch",
                             "origin": name.replace("i18n", "app").removesuffix("-de").removesuffix("-es")}.items():
            self.assertEqual(apk.text(apk.info[field]), value)
        depends = [apk.text(apk.values(item)[0]) for item in apk.values(apk.info["depends"])]
        self.assertEqual(depends, DEPENDS[name])
        for script in ["post-install", "post-upgrade"]:
            self.assertIn("killall -q -HUP rpcd\n", apk.scripts[script])
        self.assertNotIn("init.d", apk.scripts["post-upgrade"])

    def test_same_bytes_twice(self):
        first = {path: path.read_bytes() for path in self.pages("")}
        for path in first:
            path.unlink()
        self.assertEqual({path: path.read_bytes() for path in self.pages("")}, first)

    def test_feed_says_the_same(self):
        for name in ["luci-app-onebox", "luci-proto-onebox"]:
            makefile = (APP.parent / name / "Makefile").read_text()
            depends = " ".join(f"+{one}" for one in DEPENDS[name])
            for line in [f"PKG_VERSION:={project().version}", f"PKG_RELEASE:={project().release}",
                         f"PKG_LICENSE:={project().license}", f"LUCI_DEPENDS:={depends}",
                         "LUCI_PKGARCH:=all"]:
                self.assertIn(line, makefile.splitlines())
        languages = sorted(path.parent.name for path in APP.glob("po/*/onebox.po"))
        self.assertEqual(languages, sorted(contents.LANGUAGES))

    def test_scripts(self):
        """Run where the caches are, and once more where an image is built."""
        package = next(contents.luci(project()))
        text = apk_writer.scripts(package)[apk_writer.SCRIPT_POST_INSTALL]
        said = self.dir / "said"
        for name in ["lib", "tmp/luci-modulecache", "bin"]:
            (self.dir / name).mkdir(parents=True)
        (self.dir / "lib/functions.sh").write_text(f'default_postinst() {{ echo $pkgname >> {said}; }}\n')
        killall = self.dir / "bin/killall"
        killall.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
        killall.chmod(0o755)
        caches = [self.dir / "tmp/luci-indexcache.1.json", self.dir / "tmp/luci-modulecache/a"]
        for image in [True, False]:
            for cache in caches:
                cache.write_text("")
            script = self.dir / "script"
            text_here = text.replace("/tmp/luci", f"{self.dir}/tmp/luci")
            if not image:
                text_here = text_here.replace("${IPKG_INSTROOT}/lib", f"{self.dir}/lib")
            script.write_text(text_here)
            self.run_ok("sh", script, env={"PATH": f"{self.dir / 'bin'}:/usr/bin:/bin",
                                           "IPKG_INSTROOT": str(self.dir) if image else ""})
            self.assertEqual([cache.exists() for cache in caches], [image, image])
        self.assertEqual(said.read_text().splitlines(),
                         ["luci-app-onebox", "-q -HUP rpcd", "luci-app-onebox"])


class Catalogues(Case):
    def test_hashes_and_texts(self):
        made = lmo(CATALOGUE)
        start = struct.unpack(">I", made[-4:])[0]
        entries = list(struct.iter_unpack(">4I", made[start:-4]))
        self.assertEqual(entries, sorted(entries))
        self.assertEqual({key: (forms, made[at:at + size].decode())
                          for key, forms, at, size in entries}, READ)
        self.assertEqual(start % 4, 0)

    def test_same_bytes_as_po2lmo(self):
        self.need("po2lmo", root=False)
        for language in contents.LANGUAGES:
            catalogue = APP / f"po/{language}/onebox.po"
            self.run_ok("po2lmo", catalogue, self.dir / "theirs.lmo")
            self.assertEqual(lmo(catalogue.read_text()), (self.dir / "theirs.lmo").read_bytes())

