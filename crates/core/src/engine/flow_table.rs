//! The state of each flow of a connection; it takes memory for flows that have been seen.
//!
//! How: a page of a few flows is made when one of them is first met. A flow is found with one look
//! at its page, and what comes of a known flow allocates nothing. No flow is forgotten: its
//! sequence numbers go on for as long as the connection lives.

/// Flows that are told apart (RFC 8290 §5.2's default).
pub const FLOWS: usize = 1024;
/// Flows in a page: one flow costs the memory of so many.
const PAGE: usize = 8;
/// Pages of a table.
const PAGES: usize = FLOWS / PAGE;

/// The flows.
#[derive(Debug)]
pub struct FlowTable<T> {
    pages: Box<[Option<Box<[T; PAGE]>>; PAGES]>,
}

impl<T: Default> FlowTable<T> {
    /// No flow has been seen.
    pub fn new() -> FlowTable<T> {
        FlowTable { pages: Box::new([const { None }; PAGES]) }
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
            None => make(place),
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
fn make<T: Default>(place: &mut Option<Box<[T; PAGE]>>) -> &mut Box<[T; PAGE]> {
    place.insert(Box::new(core::array::from_fn(|_| T::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

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
