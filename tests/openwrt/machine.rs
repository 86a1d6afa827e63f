//! A miniature OpenWrt: a root file system, and a place to run it in.
//!
//! Why: what a package does to a router shows only on a router. How: a folder with Debian's static
//! busybox, the stand-ins of `root/` for what OpenWrt brings (rc.common, functions.sh, procd,
//! ujail), the programs `nft` and `setpriv` with their libraries, and the package. Everything runs
//! in one mount namespace, with `/proc` and a `/dev` of its own, in the network namespace of a
//! router of the lab. Limits: processes are those of the machine; real root is needed for the
//! device files.

use crate::lab::netns::Netns;
use crate::lab::onebox::binary;
use crate::lab::programs::{Program, TempDir, poll_until, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(20);
/// Programs of this machine, and where they go: out of the way of busybox's.
const PROGRAMS: [(&str, &str); 2] = [("nft", "usr/sbin/nft"), ("setpriv", "usr/libexec/setpriv")];

/// What is missing for it.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root()
        || std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| !map.contains("4294967295"))
    {
        return Some("needs root, and not only of a user namespace".to_owned());
    }
    for program in ["busybox", "nsenter", "unshare", "nft", "setpriv", "ip", "tar"] {
        if which(program).is_none() {
            return Some(format!("{program} is missing"));
        }
    }
    let busybox = which("busybox").expect("it is there");
    let linked = Command::new("ldd").arg(busybox).output().expect("ldd");
    linked.status.success().then(|| "busybox is not static (package busybox-static)".to_owned())
}

/// Where a program on PATH is.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// See the module.
pub struct Machine<'a> {
    namespace: &'a Netns,
    root: TempDir,
    holder: Program,
}

impl<'a> Machine<'a> {
    /// One with the package installed, not configured.
    pub fn new(namespace: &'a Netns) -> Machine<'a> {
        let root = TempDir::new();
        let top = root.file("");
        shell(&format!(
            "cd {top} && chmod 755 . && mkdir -p bin sbin etc/init.d etc/config usr/sbin \
             usr/libexec lib proc dev root tmp/run/ubus tmp/log tmp/lock && ln -s tmp var && \
             cp {busybox} bin/busybox && chroot . /bin/busybox --install -s /bin && \
             cp -r {stand_ins}/. . && printf 'root:x:0:0::/root:/bin/ash\\n' > etc/passwd && \
             printf 'root:x:0:\\n' > etc/group",
            top = top.display(),
            busybox = which("busybox").expect("busybox").display(),
            stand_ins = source("tests/openwrt/root").display(),
        ));
        for (program, place) in PROGRAMS {
            copy_program(&which(program).expect("it is there"), &top, place);
        }
        install(&top);
        // The package manager makes the user of a package.
        shell(&format!(
            "cd {} && echo 'onebox:x:453:453::/var:/bin/false' >> etc/passwd && \
             echo 'onebox:x:453:' >> etc/group",
            top.display()
        ));
        let mut command = namespace.command("unshare");
        let script = format!(
            "mount -t tmpfs none {top}/dev && mknod -m 666 {top}/dev/null c 1 3 && mknod -m 666 {top}/dev/urandom c 1 9 && mkdir {top}/dev/net && \
             mknod -m 600 {top}/dev/net/tun c 10 200 && mount -t proc proc {top}/proc && \
             touch {top}/dev/ready && exec sleep 1000",
            top = top.display()
        );
        command.args(["--mount", "sh", "-c", &script]);
        let holder = Program::start(command, &root.file("tmp/log/holder"));
        let machine = Machine { namespace, root, holder };
        poll_until(COMMAND, "the machine is there", || {
            machine.try_run("test -e /dev/ready").status.success().then_some(())
        });
        machine
    }

    /// A command of its shell.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.pid().to_string(), "-m", "-n", "chroot"]);
        command.arg(self.root.file("")).args(["/bin/sh", "-c", line]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        // Copied libraries lie where they lie on this machine.
        if let Some(folders) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", folders);
        }
        command
    }

    /// Runs a command of its shell.
    pub fn try_run(&self, line: &str) -> Output {
        run(self.command(line), COMMAND)
    }

    /// What a command of its shell prints; it has to succeed.
    pub fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {text}{errors}\n{}", self.log());
        assert_eq!(errors, "", "{line}");
        text
    }

    /// A file of it.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.file(path)
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("tmp/log/onebox")).unwrap_or_default()
    }

    /// The processes whose root it is, without the bus: number and command.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let root = std::fs::canonicalize(self.root.file("")).expect("root");
        let all = std::fs::read_dir("/proc").expect("proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let inside = pids.filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|path| path == root)
        });
        let named = |pid: i32| {
            let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&text).replace('\0', " ").trim().to_owned())
        };
        inside.map(named).filter(|(_, line)| !line.starts_with("/sbin/ubusd")).collect()
    }

    /// Everything that a stop has to leave as it was: files with their contents, owners and modes,
    /// addresses, links, routes, rules, tables, switches.
    pub fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        let top = self.root.file("");
        walk(&top, &mut |path| {
            let inside = path.strip_prefix(&top).expect("inside").display().to_string();
            let foreign = ["proc", "dev", "tmp/log", "tmp/run/ubus", "tmp/run/procd"];
            if foreign.iter().any(|other| inside == *other) {
                return false;
            }
            let file = std::fs::symlink_metadata(path).expect("metadata");
            let text = std::fs::read(path).unwrap_or_default();
            let sum = text.iter().fold(0u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
            let what = format!("{:o} {}:{} {sum:x}", file.mode(), file.uid(), file.gid());
            state.insert(inside, what);
            true
        });
        state.insert("/dev/net/tun".into(), self.run("ls -l /dev/net/tun"));
        for line in [
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -o addr",
            "ip -o link",
            "nft list ruleset",
            "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.all.rp_filter \
             net.netfilter.nf_conntrack_tcp_be_liberal",
        ] {
            let mut lines: Vec<_> =
                self.namespace.output(line).lines().map(str::to_owned).collect();
            lines.sort();
            state.insert(line.to_owned(), lines.join("\n"));
        }
        state
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Only what lives in this root, by number.
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shell(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path) -> bool) {
    let folder = std::fs::symlink_metadata(path).is_ok_and(|file| file.is_dir());
    if !visit(path) || !folder {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        walk(&entry.path(), visit);
    }
}

/// Copies a program with the libraries that it needs.
pub fn copy_program(program: &Path, root: &Path, place: &str) {
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("folder");
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    copy(program, &root.join(place));
    let listed = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        if !to.exists() {
            copy(Path::new(library), &to);
        }
    }
}

/// Puts the package's files there: from the package that `ONEBOX_IPK` names, with opkg if that is on
/// PATH, else as opkg would; without one those of the source and the program that was built.
fn install(top: &Path) {
    let top_text = top.display();
    match std::env::var_os("ONEBOX_IPK") {
        Some(package) => {
            let package = std::fs::canonicalize(&package).expect("ONEBOX_IPK");
            let package = package.display();
            if let Some(opkg) = which("opkg") {
                println!("installing {package} with {}", opkg.display());
                // What it depends on is the machine's; its scripts do not run here.
                let there = "Version: 1\nArchitecture: all\nStatus: install user installed\n";
                let status = ["kmod-tun", "nftables"]
                    .map(|package| format!("Package: {package}\n{there}\n"))
                    .concat();
                shell(&format!(
                    "cd {top_text} && mkdir -p usr/lib/opkg tmp/lock && \
                     printf '%s' '{status}' > usr/lib/opkg/status && \
                     printf 'dest root /\\nlists_dir ext /tmp/opkg-lists\\narch all 1\\narch {arch} 10\\n' \
                     > etc/opkg.conf && {opkg} -o {top_text} -f {top_text}/etc/opkg.conf \
                     install {package} && test -s usr/lib/opkg/info/onebox.control && \
                     test -x usr/sbin/onebox",
                    arch = std::env::consts::ARCH,
                    opkg = opkg.display(),
                ));
            } else {
                println!("installing {package}, opkg is not on PATH");
                shell(&format!("tar -xzOf {package} ./data.tar.gz | tar -xz -C {top_text}"));
            }
        }
        None => {
            println!("installing openwrt/files, init.d and {}", binary().display());
            shell(&format!(
                "cp -r {}/. {top_text} && cp {}/* {top_text}/etc/init.d/",
                source("openwrt/files").display(),
                source("init.d").display()
            ));
            std::fs::copy(binary(), top.join("usr/sbin/onebox")).expect("copy");
        }
    }
    // A build for tests is not static.
    let placed = top.join("usr/sbin/onebox");
    copy_program(&placed.with_file_name("onebox"), top, "tmp/libraries-of-onebox");
    let _ = std::fs::remove_file(top.join("tmp/libraries-of-onebox"));
}
