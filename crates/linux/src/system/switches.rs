//! Switches as a kind of entries.

use super::Error;
use super::diff::{Entry, Kind};
use crate::sysctl::{Switch, Sysctls};

impl Entry for Switch {
    type Key = String;
    fn key(&self) -> String {
        self.key.clone()
    }
}

/// The switches that are desired, and those that we have turned.
pub(super) struct Switches<'a> {
    pub(super) sysctls: &'a mut Sysctls,
    pub(super) desired: &'a [Switch],
    /// What was turned stays so although it is not desired: a WAN that has lost its route for a
    /// moment must go on accepting the advertisements that bring it back.
    pub(super) keep: bool,
}

fn failed(key: &str) -> impl FnOnce(std::io::Error) -> Error {
    let key = key.to_owned();
    move |error| Error::Sysctl { key, error }
}

impl Kind for Switches<'_> {
    type Entry = Switch;
    type Found = ();

    async fn read(&mut self) -> Result<Vec<(Switch, ())>, Error> {
        let mut list = Vec::new();
        for switch in self.desired {
            let value = self.sysctls.get(&switch.key).map_err(failed(&switch.key))?;
            list.push((Switch { value, ..switch.clone() }, ()));
        }
        if !self.keep {
            let more = self.sysctls.turned().filter(|k| self.desired.iter().all(|s| s.key != **k));
            list.extend(more.map(|key| (Switch::new(key, ""), ())));
        }
        Ok(list)
    }

    async fn add(&mut self, switch: &Switch) -> Result<(), Error> {
        self.sysctls.turn(switch).map_err(failed(&switch.key))
    }

    async fn remove(&mut self, switch: &Switch, (): ()) -> Result<(), Error> {
        self.sysctls.turn_back(&switch.key).map_err(failed(&switch.key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::reconcile;
    use super::*;
    use crate::sysctl::tests::{A, B, Fake};

    fn make(sysctls: &mut Sysctls, desired: &[Switch], keep: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut kind = Switches { sysctls, desired, keep };
        runtime.block_on(reconcile(&mut kind, desired)).unwrap();
    }

    #[test]
    fn they_are_turned_and_turned_back() {
        let fake = Fake::new("switches");
        let mut sysctls = fake.load();
        let values = |sysctls: &Sysctls| [A, B].map(|key| sysctls.get(key).unwrap());
        make(&mut sysctls, &[Switch::new(A, "1"), Switch::new(B, "1")], true);
        assert_eq!(values(&sysctls), ["1", "1"]);
        assert_eq!(sysctls.turned().collect::<Vec<_>>(), [A], "what is right is not ours");
        // Somebody else turns one; it is made again, and is theirs in the end.
        fake.write(A, "2");
        make(&mut sysctls, &[Switch::new(A, "1")], true);
        assert_eq!(values(&sysctls), ["1", "1"]);
        make(&mut sysctls, &[], true);
        assert_eq!(values(&sysctls), ["1", "1"]);
        make(&mut sysctls, &[], false);
        assert_eq!(values(&sysctls), ["2", "1"]);
        assert!(!fake.file().exists());
    }

    #[test]
    fn those_of_our_own_device_are_not_remembered() {
        let fake = Fake::new("own");
        let mut sysctls = fake.load();
        make(&mut sysctls, &[Switch::of_own_device(A.to_owned(), "2")], true);
        assert_eq!((sysctls.get(A).unwrap().as_str(), sysctls.turned().count()), ("2", 0));
    }
}
