//! From what is there to what is desired: the same for addresses, routes, rules, switches and the
//! nftables table.
//!
//! Each time what is there is read, what is missing added, what is too much removed. That costs
//! a few messages more than remembering, and is right after whatever anybody else has done.
//!
//! How: an [`Entry`] has a key, and where it is kept there is at most one of a key. [`diff`] is
//! pure; [`reconcile`] reads a [`Kind`], and does the steps.

use super::Error;

/// Something that is there or not.
pub(super) trait Entry: Clone + PartialEq {
    /// What no two entries have in common: one that differs from the desired one only in
    /// something else is in its way.
    type Key: Ord;
    /// See [`Key`](Entry::Key).
    fn key(&self) -> Self::Key;
}

/// Where entries of a kind are kept: the kernel, or a stand-in.
pub(super) trait Kind {
    /// What is kept.
    type Entry: Entry;
    /// What is needed to remove one that was found.
    type Found;

    /// All entries that are ours. A single one may be found more than once.
    async fn read(&mut self) -> Result<Vec<(Self::Entry, Self::Found)>, Error>;
    /// Adds one.
    async fn add(&mut self, entry: &Self::Entry) -> Result<(), Error>;
    /// Removes one; that it is gone already is no error.
    async fn remove(&mut self, entry: &Self::Entry, found: Self::Found) -> Result<(), Error>;
}

/// Something to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step<E, F> {
    /// It is missing.
    Add(E),
    /// It is too much.
    Remove(E, F),
}

/// What makes `actual` what is `desired`. What is missing comes in the order of `desired`, after
/// what is in its way; what is merely too much goes last. Of two desired with the same key, the
/// first counts.
pub(super) fn diff<E: Entry, F>(desired: &[E], actual: Vec<(E, F)>) -> Vec<Step<E, F>> {
    struct Slot<'a, E, F> {
        desired: &'a E,
        there: bool,
        in_the_way: Vec<Step<E, F>>,
    }
    let keys = desired.iter().map(E::key);
    let mut index: Vec<(E::Key, usize)> = keys.zip(0..).collect();
    index.sort_unstable();
    index.dedup_by(|later, first| later.0 == first.0);
    let slot = |desired| Slot { desired, there: true, in_the_way: Vec::new() };
    let mut slots: Vec<Slot<'_, E, F>> = desired.iter().map(slot).collect();
    for (_, at) in &index {
        slots[*at].there = false;
    }
    let mut surplus = Vec::new();
    for (entry, found) in actual {
        let key = entry.key();
        let place = index.binary_search_by(|(other, _)| other.cmp(&key));
        match place.map(|place| &mut slots[index[place].1]) {
            Ok(slot) if !slot.there && *slot.desired == entry => slot.there = true,
            Ok(slot) => slot.in_the_way.push(Step::Remove(entry, found)),
            Err(_) => surplus.push(Step::Remove(entry, found)),
        }
    }
    let mut steps = Vec::new();
    for slot in slots {
        steps.extend(slot.in_the_way);
        steps.extend((!slot.there).then(|| Step::Add(slot.desired.clone())));
    }
    steps.extend(surplus);
    steps
}

/// Makes what is there what is desired.
///
/// # Errors
/// The first step that failed; the others are done all the same.
pub(super) async fn reconcile<K: Kind>(kind: &mut K, desired: &[K::Entry]) -> Result<(), Error> {
    let mut result = Ok(());
    for step in diff(desired, kind.read().await?) {
        let done = match step {
            Step::Add(entry) => kind.add(&entry).await,
            Step::Remove(entry, found) => kind.remove(&entry, found).await,
        };
        result = result.and(done);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name and a value, of which only the name is the key.
    type Pair = (&'static str, u8);

    impl Entry for Pair {
        type Key = &'static str;
        fn key(&self) -> &'static str {
            self.0
        }
    }

    /// What is there, and what was done to it.
    #[derive(Default)]
    struct Fake {
        there: Vec<Pair>,
        log: Vec<Step<Pair, ()>>,
        refuses: Option<&'static str>,
    }

    impl Fake {
        fn answer(&self, name: &str) -> Result<(), Error> {
            match self.refuses == Some(name) {
                true => Err(Error::Netlink {
                    what: name.to_owned(),
                    error: std::io::ErrorKind::PermissionDenied.into(),
                }),
                false => Ok(()),
            }
        }
    }

    impl Kind for Fake {
        type Entry = Pair;
        type Found = ();

        async fn read(&mut self) -> Result<Vec<(Pair, ())>, Error> {
            Ok(self.there.iter().map(|pair| (*pair, ())).collect())
        }

        async fn add(&mut self, pair: &Pair) -> Result<(), Error> {
            self.answer(pair.0)?;
            assert!(self.there.iter().all(|(name, _)| *name != pair.0), "{} is there", pair.0);
            self.there.push(*pair);
            self.log.push(Step::Add(*pair));
            Ok(())
        }

        async fn remove(&mut self, pair: &Pair, (): ()) -> Result<(), Error> {
            let at = self.there.iter().position(|there| there == pair).unwrap();
            self.there.remove(at);
            self.log.push(Step::Remove(*pair, ()));
            Ok(())
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let list = [("b", 1), ("a", 2)];
        assert_eq!(diff(&list, list.map(|pair| (pair, ())).to_vec()), []);
        assert_eq!(diff::<Pair, ()>(&[], Vec::new()), []);
    }

    #[test]
    fn what_is_in_the_way_goes_first_and_what_is_too_much_last() {
        let mut fake = Fake { there: vec![("z", 0), ("a", 1), ("b", 2)], ..Fake::default() };
        block_on(reconcile(&mut fake, &[("c", 3), ("b", 9), ("a", 1)])).unwrap();
        let steps = [
            Step::Add(("c", 3)),
            Step::Remove(("b", 2), ()),
            Step::Add(("b", 9)),
            Step::Remove(("z", 0), ()),
        ];
        assert_eq!(fake.log, steps);
        fake.log.clear();
        block_on(reconcile(&mut fake, &[("c", 3), ("b", 9), ("a", 1)])).unwrap();
        assert_eq!(fake.log, [], "a second time changes nothing");
        block_on(reconcile(&mut fake, &[])).unwrap();
        assert_eq!(fake.there, []);
    }

    #[test]
    fn the_same_twice_is_once_too_much() {
        let mut fake = Fake { there: vec![("a", 1), ("a", 1)], ..Fake::default() };
        block_on(reconcile(&mut fake, &[("a", 1), ("a", 2)])).unwrap();
        assert_eq!(fake.there, [("a", 1)]);
    }

    #[test]
    fn what_is_refused_does_not_keep_the_rest_away() {
        let mut fake = Fake { refuses: Some("a"), ..Fake::default() };
        let result = block_on(reconcile(&mut fake, &[("a", 1), ("b", 2)]));
        assert!(result.unwrap_err().to_string().contains('a'));
        assert_eq!(fake.there, [("b", 2)]);
    }
}
