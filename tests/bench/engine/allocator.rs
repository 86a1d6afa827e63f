//! The system's allocator, counting.
//!
//! Each thread counts its own calls, so that a test harness beside it does not matter. On demand
//! it also remembers from where in the engine they came.

#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Allocations whose origin is looked up at most: each costs a millisecond.
const ORIGINS_MAX: u64 = 3000;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    /// Bytes taken and not given back by this thread; what another has taken counts below zero.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    /// How many origins are still to be looked up.
    static TRACED: Cell<u64> = const { Cell::new(0) };
    static ORIGINS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// The allocator.
pub struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        keep(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        keep(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        keep(size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn count(bytes: usize) {
    // A thread that ends has no cells any more; nothing is measured there.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    let _ = BYTES.try_with(|sum| sum.set(sum.get() + bytes as u64));
    let left = TRACED.try_with(Cell::get).unwrap_or(0);
    if left > 0 {
        // What the look-up allocates is not to be looked up.
        TRACED.with(|traced| traced.set(0));
        let origin = origin(&Backtrace::force_capture().to_string());
        ORIGINS.with(|origins| *origins.borrow_mut().entry(origin).or_default() += 1);
        TRACED.with(|traced| traced.set(left - 1));
    }
}

fn keep(bytes: i64) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

/// Bytes that this thread has allocated and not given back.
pub fn live() -> i64 {
    LIVE.with(Cell::get)
}

/// Allocations and reallocations of this thread so far.
pub fn calls() -> u64 {
    CALLS.with(Cell::get)
}

/// Do something, and remember from where it allocates.
pub fn traced(what: impl FnOnce()) {
    let left = ORIGINS.with(|origins| ORIGINS_MAX - origins.borrow().values().sum::<u64>());
    TRACED.with(|traced| traced.set(left));
    what();
    TRACED.with(|traced| traced.set(0));
}

/// The origins seen, the most frequent first.
pub fn origins() -> Vec<(String, u64)> {
    let mut origins: Vec<_> = ORIGINS.with(|o| o.borrow().clone()).into_iter().collect();
    origins.sort_by_key(|origin| std::cmp::Reverse(origin.1));
    origins
}

/// The innermost place in the sources of onebox, and who called it there.
fn origin(backtrace: &str) -> String {
    let places = backtrace.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let ours = places.filter_map(|place| place.find("src/").map(|at| &place[at..]));
    let ours = ours.filter(|place| !place.starts_with("src/liballoc"));
    let known = ["engine/", "wire/", "buffer.rs", "crypto/"];
    let ours = ours.filter(|place| known.iter().any(|k| place["src/".len()..].starts_with(k)));
    ours.take(3).collect::<Vec<_>>().join(" < ")
}
