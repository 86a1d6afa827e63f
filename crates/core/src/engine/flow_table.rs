//! The state of each flow of a connection; it takes memory for flows that are in use.
//!
//! How: a page of a few flows is made when one of them is first met. A flow is found with one look
//! at its page, and what comes of a known flow allocates nothing. A page in which nothing has happened
//! for a while is given back. No flow is forgotten: its sequence numbers go on for as long as the
//! connection lives, so four bytes of each flow of such a page are kept.

/// Flows that are told apart (RFC 8290 §5.2's default).
pub const FLOWS: usize = 1024;
/// Flows in a page: one flow costs the memory of so many.
const PAGE: usize = 8;
/// Pages of a table.
const PAGES: usize = FLOWS / PAGE;

/// A flow that may rest.
pub trait Rests: Default {
    /// The next sequence number (low half), by which the flow can go on, when nothing else is to be
    /// known of it.
    fn rest(&self) -> Option<u32>;
    /// A flow that goes on there. Of zero the default.
    fn wake(next: u32) -> Self;
}

/// The flows.
#[derive(Debug)]
pub struct FlowTable<T> {
    pages: Box<[Option<Box<[T; PAGE]>>; PAGES]>,
    /// Where the flows of a page go on, as they were when this was last looked at.
    rests: Vec<(u8, [u32; PAGE])>,
}

impl<T: Rests> FlowTable<T> {
    /// No flow has been seen.
    pub fn new() -> FlowTable<T> {
        FlowTable { pages: Box::new([const { None }; PAGES]), rests: Vec::new() }
    }

    /// Gives back the pages in which nothing has happened since this was called last.
    pub fn give_back(&mut self) {
        for (number, place) in self.pages.iter_mut().enumerate() {
            let Some(page) = place else { continue };
            let mut rest = [0; PAGE];
            let mut flows = page.iter().zip(&mut rest);
            if !flows.all(|(flow, next)| flow.rest().map(|n| *next = n).is_some()) {
                continue;
            }
            match self.rests.iter_mut().find(|(page, _)| usize::from(*page) == number) {
                Some((_, kept)) if *kept == rest => *place = None,
                Some((_, kept)) => *kept = rest,
                None => self.rests.push((number as u8, rest)),
            }
        }
    }

    /// A flow, if it or a neighbour has been seen.
    pub fn get(&self, flow: usize) -> Option<&T> {
        self.pages.get(flow / PAGE)?.as_ref().map(|page| &page[flow % PAGE])
    }

    /// A flow, made when it is met for the first time. Numbers above [`FLOWS`] begin at zero again.
    #[inline]
    pub fn at(&mut self, flow: usize) -> &mut T {
        let place = &mut self.pages[flow / PAGE % PAGES];
        let page = match place {
            Some(page) => page,
            None => make(place, &self.rests, flow / PAGE % PAGES),
        };
        &mut page[flow % PAGE]
    }

    /// All flows that have memory, with their numbers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let pages = self.pages.iter().enumerate();
        let pages = pages.filter_map(|(number, page)| Some((number, page.as_ref()?)));
        pages.flat_map(|(number, page)| {
            page.iter().enumerate().map(move |(i, flow)| (number * PAGE + i, flow))
        })
    }

    /// The same flows, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten().flat_map(|page| page.iter_mut())
    }
}

/// Makes a page. Apart, so that finding a known flow stays a few instructions.
#[cold]
#[inline(never)]
fn make<'a, T: Rests>(
    place: &'a mut Option<Box<[T; PAGE]>>,
    rests: &[(u8, [u32; PAGE])],
    number: usize,
) -> &'a mut Box<[T; PAGE]> {
    let rest = rests.iter().find(|(page, _)| usize::from(*page) == number);
    let rest = rest.map_or([0; PAGE], |(_, rest)| *rest);
    place.insert(Box::new(rest.map(T::wake)))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Rests for u32 {
        fn rest(&self) -> Option<u32> {
            (*self < 1000).then_some(*self)
        }

        fn wake(next: u32) -> u32 {
            next
        }
    }

    #[test]
    fn a_page_is_given_back_when_nothing_happens_and_goes_on_where_it_was() {
        let mut table = FlowTable::<u32>::new();
        (*table.at(3), *table.at(5), *table.at(20)) = (30, 50, 5000);
        table.give_back();
        *table.at(5) += 1;
        table.give_back();
        assert_eq!(table.get(5), Some(&51), "it was in use");
        table.give_back();
        assert_eq!((table.get(5), table.get(20)), (None, Some(&5000)), "20 cannot rest");
        assert_eq!((*table.at(5), *table.at(3), *table.at(4)), (51, 30, 0));
    }

    #[test]
    fn flows_are_made_when_they_are_met() {
        let mut table = FlowTable::<u32>::new();
        assert_eq!((table.get(5), table.iter().count()), (None, 0));
        *table.at(FLOWS - 1) = 7;
        *table.at(5) = 3;
        assert_eq!((table.get(5), table.get(FLOWS - 1)), (Some(&3), Some(&7)));
        assert_eq!(table.iter().filter(|f| *f.1 > 0).collect::<Vec<_>>(), [(5, &3), (1023, &7)]);
        assert_eq!(table.get(FLOWS), None);
        assert_eq!(*table.at(FLOWS + 5), 3);
    }
}
