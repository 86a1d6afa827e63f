//! The parts of what is ours in the system, each compared and mended by itself.

/// One of them, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The nftables table.
    Table,
    /// Switches of the kernel.
    Switches,
    /// The TUN device's MTU, and that it is switched on.
    Device,
    /// The TUN device's addresses.
    Addresses,
    /// Routes, in all tables.
    Routes,
    /// Rules that lead to the tables.
    Rules,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 6] =
        [Part::Table, Part::Switches, Part::Device, Part::Addresses, Part::Routes, Part::Rules];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Part::Table => "nftables table",
            Part::Switches => "switches",
            Part::Device => "device",
            Part::Addresses => "addresses",
            Part::Routes => "routes",
            Part::Rules => "rules",
        }
    }
}

/// A set of parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts(u8);

impl Parts {
    /// Every part.
    pub(super) const ALL: Parts = Parts((1 << Part::ALL.len()) - 1);

    /// These.
    pub(super) fn of(parts: &[Part]) -> Parts {
        Parts(parts.iter().fold(0, |bits, part| bits | 1 << *part as u8))
    }

    pub(super) fn contains(self, part: Part) -> bool {
        self.0 & 1 << part as u8 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn add(&mut self, parts: Parts) {
        self.0 |= parts.0;
    }

    pub(super) fn remove(&mut self, part: Part) {
        self.0 &= !(1 << part as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added() {
        let mut set = Parts::default();
        assert!(set.is_empty());
        set.add(Parts::of(&[Part::Rules, Part::Table]));
        let has: Vec<Part> = Part::ALL.into_iter().filter(|part| set.contains(*part)).collect();
        assert_eq!(has, [Part::Table, Part::Rules]);
        set.remove(Part::Rules);
        assert_eq!(set, Parts::of(&[Part::Table]));
        assert!(Part::ALL.into_iter().all(|part| Parts::ALL.contains(part)));
    }
}
