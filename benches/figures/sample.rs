//! Medians, spread, percentiles and paired ratios.

/// A few repetitions of one figure, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The one in the middle, or between the two.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Summary {
    /// `None` where there is no sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self { median: middle(&sorted)?, least: *sorted.first()?, most: *sorted.last()? })
    }

    /// Half the distance from the least to the most, in percent of the median: "median ± spread %".
    pub fn spread(&self) -> f64 {
        (self.most - self.least) / 2.0 / self.median * 100.0
    }
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[half - 1], upper) })
}

/// The sample that `share` of all (0 to 1) do not exceed, by nearest rank. `None` where there is no sample.
pub fn percentile(samples: &mut [f64], share: f64) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let rank = (share * samples.len() as f64).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied()
}

/// The ratios of samples taken in the same repetition, summed up. Samples without a partner are left out.
pub fn paired(samples: &[f64], reference: &[f64]) -> Option<Summary> {
    let ratios: Vec<f64> = samples.iter().zip(reference).map(|(sample, base)| sample / base).collect();
    Summary::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]).map(|all| all.median), Some(2.0));
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).map(|all| all.median), Some(2.5));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_spread_is_half_the_range_in_percent() {
        let summary = Summary::of(&[90.0, 100.0, 110.0]).unwrap();
        assert!((summary.spread() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_go_by_nearest_rank() {
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&mut hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&mut [7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn a_drift_that_both_share_is_not_in_their_ratio() {
        let ratio = paired(&[8.0, 16.0, 4.0], &[10.0, 20.0, 5.0]).unwrap();
        assert!((ratio.median - 0.8).abs() < 1e-9 && ratio.spread() < 1e-9);
    }
}
