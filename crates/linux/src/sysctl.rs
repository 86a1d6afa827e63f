//! Kernel switches that we turn, and turn back.
//!
//! Why: a server has to forward packets, and somebody else may have had a reason for it not to.
//!
//! How: the former value of a switch is written to a file on a RAM disk before the switch is
//! turned. [`Sysctls::restore`] turns back what still has our value: at exit, or at the next
//! start after a crash.
//!
//! Limits: a reboot forgets both the file and the switches. What somebody else has turned in the
//! meantime stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the kernel shows its switches.
const ROOT: &str = "/proc/sys";

/// The switches that we have turned.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    file: PathBuf,
    /// Key, e.g. `net/ipv4/ip_forward`, to former value and ours.
    turned: BTreeMap<String, (String, String)>,
}

impl Sysctls {
    /// Reads what an earlier run has left in `file`, if anything.
    pub fn load(file: &Path) -> Sysctls {
        Sysctls::load_at(Path::new(ROOT), file)
    }

    fn load_at(root: &Path, file: &Path) -> Sysctls {
        // No file: nothing was left. Lines that are not ours to understand are skipped.
        let text = fs::read_to_string(file).unwrap_or_default();
        let turned = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (key, former, ours) = (words.next()?, words.next()?, words.next()?);
            let inside = !key.split('/').any(|part| part == ".." || part.is_empty());
            inside.then(|| (key.to_owned(), (former.to_owned(), ours.to_owned())))
        });
        Sysctls { root: root.to_owned(), file: file.to_owned(), turned: turned.collect() }
    }

    /// The value of a switch now.
    ///
    /// # Errors
    /// There is no such switch.
    pub fn get(&self, key: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.root.join(key))?.trim().to_owned())
    }

    /// Turns a switch to `value`, if it is not there already, and remembers where it was.
    ///
    /// # Errors
    /// The switch does not exist or may not be turned, or the file cannot be written; in the
    /// latter case the switch is left alone.
    pub fn set(&mut self, key: &str, value: &str) -> io::Result<()> {
        let now = self.get(key)?;
        if now == value {
            return Ok(());
        }
        let former = self.turned.get(key).map_or(now, |(former, _)| former.clone());
        self.turned.insert(key.to_owned(), (former, value.to_owned()));
        self.save()?;
        fs::write(self.root.join(key), value)
    }

    /// Sets a switch of our own device, which goes away with it: not remembered.
    ///
    /// # Errors
    /// The switch does not exist or may not be turned.
    pub fn set_own(&self, key: &str, value: &str) -> io::Result<()> {
        fs::write(self.root.join(key), value)
    }

    /// Turns everything back that still has our value, and forgets it.
    ///
    /// # Errors
    /// The first that could not be turned back; the others are, and all are forgotten. A switch
    /// that is gone, with its device, is no error.
    pub fn restore(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for (key, (former, ours)) in std::mem::take(&mut self.turned) {
            if self.get(&key).ok().as_deref() == Some(ours.as_str()) {
                let turned = fs::write(self.root.join(&key), &former);
                result = result.and(turned);
            }
        }
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => result.and(Err(error)),
            _ => result,
        }
    }

    fn save(&self) -> io::Result<()> {
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
mod tests {
    use super::*;

    /// A directory of its own that plays `/proc/sys`.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Fake {
            let root = std::env::temp_dir().join(format!("onebox-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("net")).unwrap();
            fs::write(root.join("net/a"), "0\n").unwrap();
            fs::write(root.join("net/b"), "1\n").unwrap();
            Fake(root)
        }

        fn load(&self) -> Sysctls {
            Sysctls::load_at(&self.0, &self.0.join("run/sysctl"))
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn turned_switches_come_back_after_a_crash() {
        let fake = Fake::new("crash");
        let mut first = fake.load();
        first.set("net/a", "1").unwrap();
        first.set("net/b", "2").unwrap();
        drop(first);
        let mut second = fake.load();
        assert_eq!(second.get("net/a").unwrap(), "1");
        second.restore().unwrap();
        assert_eq!(second.get("net/a").unwrap(), "0");
        assert_eq!(second.get("net/b").unwrap(), "1");
        assert!(!fake.0.join("run/sysctl").exists());
    }

    #[test]
    fn what_somebody_else_has_turned_stays() {
        let fake = Fake::new("foreign");
        let mut sysctls = fake.load();
        sysctls.set("net/b", "2").unwrap();
        fs::write(fake.0.join("net/b"), "0\n").unwrap();
        sysctls.restore().unwrap();
        assert_eq!(sysctls.get("net/b").unwrap(), "0");
    }

    #[test]
    fn a_switch_that_is_right_is_not_ours() {
        let fake = Fake::new("right");
        let mut sysctls = fake.load();
        sysctls.set("net/b", "1").unwrap();
        assert!(!fake.0.join("run/sysctl").exists());
        assert!(sysctls.set("net/none", "1").is_err());
    }

    #[test]
    fn a_damaged_file_is_harmless() {
        let fake = Fake::new("damaged");
        fs::create_dir_all(fake.0.join("run")).unwrap();
        fs::write(fake.0.join("run/sysctl"), "x\n../net/a 5 0\nnet/b 7 1\n").unwrap();
        let mut sysctls = fake.load();
        sysctls.restore().unwrap();
        assert_eq!(sysctls.get("net/a").unwrap(), "0");
        assert_eq!(sysctls.get("net/b").unwrap(), "7");
    }
}
