//! Files that are replaced as a whole: the configuration, the private key, what has to be kept.
//!
//! Why: whoever reads while we write, and whoever looks after a power failure, must find the old
//! text or the new one. And two commands that both read, change and write must not lose what the
//! other has written.
//!
//! How: the text goes to a new file in the same directory, is synced, takes over owner and mode,
//! and is renamed over the old one. Commands exclude each other by a lock on the directory, which
//! leaves nothing behind. A symbolic link is followed first, so that it stays one.
//!
//! Limits: programs that do not take the lock, such as an editor, are not kept away.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of a new file: only the owner may read secrets.
const PRIVATE: u32 = 0o600;

/// A file that nobody else changes meanwhile, as far as they ask.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    _directory: File,
}

impl Locked {
    /// Waits until the directory of this file is ours; it is made if it is not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or opened.
    pub fn wait(path: &Path) -> io::Result<Locked> {
        // A link that leads nowhere is replaced, not followed.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = directory(&path);
        std::fs::create_dir_all(directory)?;
        let directory = File::open(directory)?;
        directory.lock()?;
        Ok(Locked { path, _directory: directory })
    }

    /// Replaces the file. The bits of `forbidden` are taken away from its mode.
    ///
    /// # Errors
    ///
    /// What the system says; the file is what it was.
    pub fn replace(&self, text: &[u8], forbidden: u32) -> io::Result<()> {
        replace(&self.path, text, forbidden)
    }
}

/// Writes a file for the owner alone, mode 0600, in a directory that is made for it if need be.
///
/// # Errors
///
/// What the system says; the file is what it was.
pub fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut builder = std::fs::DirBuilder::new();
    use std::os::unix::fs::DirBuilderExt;
    builder.recursive(true).mode(0o700).create(directory(&path))?;
    replace(&path, text, 0o177)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn replace(path: &Path, text: &[u8], forbidden: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading point keeps it from being taken for a configuration of its own.
    let temporary = directory(path).join(format!(".{name}.{}.new", std::process::id()));
    sweep(directory(path), &format!(".{name}."));
    let outcome = write(path, &temporary, text, forbidden);
    if outcome.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    outcome
}

/// Removes what a process that was killed has left, since it may hold secrets.
fn sweep(directory: &Path, prefix: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(prefix)?.strip_suffix(".new"));
        let number = number.and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| !Path::new("/proc").join(number.to_string()).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, temporary: &Path, text: &[u8], forbidden: u32) -> io::Result<()> {
    // Of a process with the same number that was killed.
    let _ = std::fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(temporary)?;
    if let Ok(old) = std::fs::metadata(path) {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o777 & !forbidden))?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("onebox-files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left() {
        let folder = folder("replace");
        let path = folder.join("conf");
        let locked = Locked::wait(&path).unwrap();
        // No process has this number; what is named otherwise is somebody's.
        std::fs::write(folder.join(".conf.4294967295.new"), "half").unwrap();
        locked.replace(b"1", 0).unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        locked.replace(b"2", 0).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"2".to_vec(), 0o644));
        locked.replace(b"3", 0o007).unwrap();
        assert_eq!(mode(&path), 0o640);
        let key = folder.join("deep/er/key");
        write_private(&key, b"k").unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o666)).unwrap();
        write_private(&key, b"k").unwrap();
        assert_eq!(mode(&key), 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = folder("link");
        let (link, path) = (folder.join("link"), folder.join("conf"));
        std::fs::write(&path, "1").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Locked::wait(&link).unwrap().replace(b"2", 0).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = folder("fail");
        let path = folder.join("conf");
        std::fs::create_dir(&path).unwrap();
        assert!(Locked::wait(&path).unwrap().replace(b"2", 0).is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
