//! How much memory the machine has.

use nix::sys::sysinfo::sysinfo;

/// Bytes of memory; 0 where the kernel does not say.
pub fn total_bytes() -> usize {
    sysinfo().map_or(0, |info| usize::try_from(info.ram_total()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some() {
        assert!(super::total_bytes() > 16 << 20);
    }
}
