//! Figures made of series: medians, percentiles, and what a series of goodput says of an outage.

/// What plain TCP gets of an Ethernet line: 1448 of 1538 bytes, all headers and gaps counted.
pub const TCP_SHARE: f64 = 1448.0 / 1538.0;
/// Width of a bin of a goodput series, milliseconds.
pub const BIN_MS: u64 = 10;

/// Bins over which goodput is averaged to say that TCP is back: 200 ms.
const MEAN_BINS: usize = 20;
/// For so many bins more every such mean has to stay up: 400 ms.
const STEADY_BINS: usize = 40;

/// The middle value, of an even number the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let low = *sorted.get(sorted.len().wrapping_sub(1) / 2)?;
    let high = sorted[sorted.len() / 2];
    // Two endless ones have no mean.
    Some(if low == high { low } else { low + (high - low) / 2.0 })
}

/// The value that `percent` of all do not exceed (nearest rank).
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Mean of a series of bytes in bins, Mbit/s.
pub fn mbit(bins: &[u64]) -> f64 {
    bins.iter().sum::<u64>() as f64 * 8.0 / 1000.0 / (bins.len().max(1) as u64 * BIN_MS) as f64
}

/// The longest run of empty bins, milliseconds.
pub fn longest_zero_ms(bins: &[u64]) -> u64 {
    bins.split(|&bytes| bytes > 0).map(|run| run.len() as u64 * BIN_MS).max().unwrap_or(0)
}

/// When goodput has reached `level_mbit` and stays there: the first bin from which the mean of
/// 200 ms does not fall below it during the next 400 ms. `None` when that never happens.
pub fn recovered_ms(bins: &[u64], level_mbit: f64) -> Option<u64> {
    let good: Vec<bool> = bins.windows(MEAN_BINS).map(|w| mbit(w) >= level_mbit).collect();
    let steady = good.windows(STEADY_BINS).position(|w| w.iter().all(|&good| good));
    steady.map(|bin| bin as u64 * BIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        let endless = median(&[f64::INFINITY, 1.0, f64::INFINITY]);
        assert_eq!(endless, Some(f64::INFINITY));
    }

    #[test]
    fn percentiles_are_values_of_the_series() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 95.0), Some(95.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&values, 100.0), Some(100.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn zeros_are_counted_in_a_row() {
        assert_eq!(longest_zero_ms(&[1, 0, 0, 1, 0]), 20);
        assert_eq!(longest_zero_ms(&[0, 0, 0]), 30);
        assert_eq!(longest_zero_ms(&[]), 0);
    }

    #[test]
    fn recovery_is_where_the_mean_stays_up() {
        // 12 500 bytes in 10 ms are 10 Mbit/s: full, 300 ms of nothing, full again.
        let full = 12_500;
        let bins = [vec![full; 10], vec![0; 30], vec![full; 100]].concat();
        // 80 % of 200 ms: 16 of 20 bins, so 4 empty ones may be in the first window.
        assert_eq!(recovered_ms(&bins, 8.0), Some(360));
        assert_eq!(recovered_ms(&[full; 100], 8.0), Some(0));
        assert_eq!(recovered_ms(&[full / 2; 100], 8.0), None);
        assert_eq!(recovered_ms(&[full; 50], 8.0), None, "too short to tell");
    }
}
