//! Kernel switches that we turn, and turn back.
//!
//! Why: a server has to forward packets, and somebody else may have had a reason for it not to.
//!
//! How: the former value of a switch is written to a file on a RAM disk before the switch is
//! turned. [`Sysctls::turn_back`] turns back what still has our value: at exit, or at the next
//! start after a crash. The program of whoever can write that file may be root's, so that only
//! switches that we could have turned ([`is_known`]) are read from it, with numbers as values.
//!
//! Limits: a reboot forgets both the file and the switches. What somebody else has turned in the
//! meantime stays as it is.

use std::path::{Path, PathBuf};
use std::{fs, io};

use litemap::LiteMap;

/// Where the kernel shows its switches.
const ROOT: &str = "/proc/sys";

/// Forwards IPv4 between devices.
pub const FORWARD_V4: &str = "net/ipv4/ip_forward";
/// Forwards IPv6 between devices.
pub const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";
/// Takes TCP packets outside the known window for part of their connection.
pub const CONNTRACK_LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
/// What is before and behind the device in the name of [`accept_ra`].
const ACCEPT_RA: [&str; 2] = ["net/ipv6/conf/", "/accept_ra"];
/// The same of [`rp_filter`].
const RP_FILTER: [&str; 2] = ["net/ipv4/conf/", "/rp_filter"];

/// Takes router advertisements on a device: 1 unless it forwards, 2 always.
pub fn accept_ra(device: &str) -> String {
    ACCEPT_RA.join(device)
}

/// The check of sources on a device; 2 is the loose one (RFC 3704 §2.4).
pub fn rp_filter(device: &str) -> String {
    RP_FILTER.join(device)
}

/// Whether this is one of the switches that we turn and turn back.
pub fn is_known(key: &str) -> bool {
    let of_device = [ACCEPT_RA, RP_FILTER].into_iter().any(|[before, after]| {
        let device = key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        device.is_some_and(|name| !matches!(name, "" | "." | "..") && !name.contains('/'))
    });
    of_device || [FORWARD_V4, FORWARD_V6, CONNTRACK_LIBERAL].contains(&key)
}

/// How a switch is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Its path below `/proc/sys`.
    pub key: String,
    /// A number.
    pub value: String,
    /// It is turned only if it has this value.
    pub only_from: Option<&'static str>,
    /// It goes away with our own device: its former value is not kept.
    pub of_own_device: bool,
}

impl Switch {
    /// One that is turned back at the end.
    pub fn new(key: impl Into<String>, value: &str) -> Switch {
        let value = value.to_owned();
        Switch { key: key.into(), value, only_from: None, of_own_device: false }
    }

    /// One that goes away with our own device.
    pub fn of_own_device(key: String, value: &str) -> Switch {
        Switch { of_own_device: true, ..Switch::new(key, value) }
    }

    /// It is turned only if it has this value.
    #[must_use]
    pub fn only_from(self, value: &'static str) -> Switch {
        Switch { only_from: Some(value), ..self }
    }
}

/// The switches that we have turned.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    file: PathBuf,
    /// Key to former value and ours.
    turned: LiteMap<String, (String, String)>,
}

impl Sysctls {
    /// Reads what an earlier run has left in `file`, if anything.
    pub fn load(file: &Path) -> Sysctls {
        Sysctls::load_at(Path::new(ROOT), file)
    }

    pub(crate) fn load_at(root: &Path, file: &Path) -> Sysctls {
        // No file: nothing was left. Lines that we could not have written are skipped.
        let text = fs::read_to_string(file).unwrap_or_default();
        let turned = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (key, former, ours) = (words.next()?, words.next()?, words.next()?);
            let number = |value: &str| value.parse::<i32>().is_ok();
            let good = is_known(key) && number(former) && number(ours);
            good.then(|| (key.to_owned(), (former.to_owned(), ours.to_owned())))
        });
        Sysctls { root: root.to_owned(), file: file.to_owned(), turned: turned.collect() }
    }

    /// The keys of the switches that we have turned.
    pub fn turned(&self) -> impl Iterator<Item = &str> {
        self.turned.keys().map(String::as_str)
    }

    /// The value of a switch now.
    ///
    /// # Errors
    /// There is no such switch.
    pub fn get(&self, key: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.root.join(key))?.trim().to_owned())
    }

    /// Whether there is such a switch, and it has a value that is to be changed or has been.
    pub fn applies(&self, switch: &Switch) -> bool {
        let value = self.get(&switch.key);
        let value = value.as_deref();
        let turned = value.is_ok_and(|value| value == switch.value);
        match (value, switch.only_from) {
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(value), Some(from)) => turned || value == from,
            (Ok(_), None) => true,
        }
    }

    /// Turns a switch, and remembers where it was unless it is our own device's.
    ///
    /// # Errors
    /// The switch does not exist or may not be turned, or the file cannot be written; in the
    /// latter case the switch is left alone.
    pub fn turn(&mut self, switch: &Switch) -> io::Result<()> {
        let Switch { key, value, of_own_device, .. } = switch;
        if !of_own_device {
            if !is_known(key) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not one of ours"));
            }
            let now = self.get(key)?;
            let former = self.turned.get(key).map_or(now, |(former, _)| former.clone());
            self.turned.insert(key.clone(), (former, value.clone()));
            self.save()?;
        }
        fs::write(self.root.join(key), value)
    }

    /// Turns a switch back if it still has our value, and forgets it. One that we have not turned
    /// is left alone, one that is gone, with its device, is no error.
    ///
    /// # Errors
    /// It may not be turned, or the file cannot be written; it is forgotten all the same.
    pub fn turn_back(&mut self, key: &str) -> io::Result<()> {
        let Some((former, ours)) = self.turned.remove(key) else { return Ok(()) };
        let turned = match self.get(key) {
            Ok(now) if now == ours => fs::write(self.root.join(key), former),
            _ => Ok(()),
        };
        turned.and(self.save())
    }

    fn save(&self) -> io::Result<()> {
        if self.turned.is_empty() {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(directory) = self.file.parent() {
            fs::create_dir_all(directory)?;
        }
        let lines =
            self.turned.iter().map(|(key, (former, ours))| format!("{key} {former} {ours}\n"));
        // A crash in between must not leave half a file.
        let draft = self.file.with_extension("new");
        fs::write(&draft, lines.collect::<String>())?;
        fs::rename(&draft, &self.file)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory of its own that plays `/proc/sys`: both families forward, as A and B say.
    pub(crate) struct Fake(PathBuf);

    /// Is 0 at first.
    pub(crate) const A: &str = FORWARD_V4;
    /// Is 1 at first.
    pub(crate) const B: &str = FORWARD_V6;

    impl Fake {
        pub(crate) fn new(name: &str) -> Fake {
            let root = std::env::temp_dir().join(format!("onebox-{name}-{}", std::process::id()));
            for (key, value) in [(A, "0\n"), (B, "1\n"), ("kernel/panic", "0\n")] {
                fs::create_dir_all(root.join(key).parent().unwrap()).unwrap();
                fs::write(root.join(key), value).unwrap();
            }
            Fake(root)
        }

        pub(crate) fn load(&self) -> Sysctls {
            Sysctls::load_at(&self.0, &self.file())
        }

        pub(crate) fn file(&self) -> PathBuf {
            self.0.join("run/sysctl")
        }

        pub(crate) fn write(&self, key: &str, value: &str) {
            fs::write(self.0.join(key), value).unwrap();
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn turn(sysctls: &mut Sysctls, key: &str, value: &str) {
        sysctls.turn(&Switch::new(key, value)).unwrap();
    }

    fn restore(sysctls: &mut Sysctls) {
        for key in sysctls.turned().map(str::to_owned).collect::<Vec<_>>() {
            sysctls.turn_back(&key).unwrap();
        }
    }

    #[test]
    fn turned_switches_come_back_after_a_crash() {
        let fake = Fake::new("crash");
        let mut first = fake.load();
        turn(&mut first, A, "1");
        turn(&mut first, B, "2");
        drop(first);
        let mut second = fake.load();
        assert_eq!(second.get(A).unwrap(), "1");
        restore(&mut second);
        assert_eq!(second.get(A).unwrap(), "0");
        assert_eq!(second.get(B).unwrap(), "1");
        assert!(!fake.file().exists());
    }

    #[test]
    fn what_somebody_else_has_turned_stays() {
        let fake = Fake::new("foreign");
        let mut sysctls = fake.load();
        turn(&mut sysctls, B, "2");
        fake.write(B, "0\n");
        restore(&mut sysctls);
        assert_eq!(sysctls.get(B).unwrap(), "0");
    }

    #[test]
    fn only_some_switches_apply() {
        let fake = Fake::new("applies");
        let sysctls = fake.load();
        assert!(sysctls.applies(&Switch::new(A, "1")) && sysctls.applies(&Switch::new(A, "0")));
        assert!(!sysctls.applies(&Switch::new(CONNTRACK_LIBERAL, "1")), "there is none");
        let from = |key: &str, from| Switch::new(key, "2").only_from(from);
        assert!(sysctls.applies(&from(B, "1")));
        assert!(!sysctls.applies(&from(A, "1")));
        fake.write(A, "2");
        assert!(sysctls.applies(&from(A, "1")), "turned already");
    }

    #[test]
    fn a_damaged_file_is_harmless() {
        let fake = Fake::new("damaged");
        fs::create_dir_all(fake.file().parent().unwrap()).unwrap();
        let text = format!("x\n../{A} 5 0\n{A} reboot 0\n{A}/ 5 0\n{B} 7 1\nkernel/panic 9 0\n");
        fs::write(fake.file(), text).unwrap();
        let mut sysctls = fake.load();
        restore(&mut sysctls);
        assert_eq!(sysctls.get(A).unwrap(), "0");
        assert_eq!(sysctls.get(B).unwrap(), "7");
        assert_eq!(sysctls.get("kernel/panic").unwrap(), "0");
    }

    #[test]
    fn only_what_we_turn_is_known() {
        for key in
            [FORWARD_V4, FORWARD_V6, CONNTRACK_LIBERAL, &accept_ra("eth0.2"), &rp_filter("eth0")]
        {
            assert!(is_known(key), "{key}");
        }
        for key in [
            "",
            "kernel/core_pattern",
            "net/ipv4/ip_forward/",
            "/net/ipv4/ip_forward",
            "net/ipv6/conf/accept_ra",
            "net/ipv6/conf//accept_ra",
            "net/ipv6/conf/../accept_ra",
            "net/ipv6/conf/../../../kernel/accept_ra",
            "net/ipv6/conf/a/../accept_ra",
            "net/ipv6/conf/eth0/forwarding",
            "net/ipv4/conf//rp_filter",
            "net/ipv4/conf/../rp_filter",
        ] {
            assert!(!is_known(key), "{key}");
        }
        let fake = Fake::new("known");
        assert!(fake.load().turn(&Switch::new("kernel/panic", "1")).is_err());
    }
}
