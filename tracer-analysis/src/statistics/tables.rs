//! Counts by category, of two groups.

use super::{
    proportions::{Proportion, two_proportions},
    special::chi_square_upper,
};

/// Categories of which less is expected in a group are taken together (the rule of Cochran, "Some methods for strengthening the
/// common χ² tests", Biometrics 10 (1954), in its strict form).
const LEAST_EXPECTED: f64 = 5.0;

/// Whether two groups spread over categories alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Homogeneity {
    /// Pearson's chi-square.
    pub statistic: f64,
    /// Its degrees of freedom: categories less one, after rare ones were taken together.
    pub degrees: f64,
    /// How likely chance alone makes the groups differ so much.
    pub p_value: f64,
    /// How much they differ, from 0 (not at all) to 1 (no category in common): V of Cramér ("Mathematical methods of
    /// statistics" (1946)).
    pub cramers_v: f64,
}

/// The chi-square test of homogeneity of two groups, each with a count by category; a count that is missing is 0.
///
/// Categories of which fewer than five are expected in a group are taken together as one, the rarest first, until two are left.
/// Of two, the p-value is that of [`two_proportions`], which is exact for small counts. None if a group is empty or all are of
/// one category.
pub fn homogeneity(before: &[u64], after: &[u64]) -> Option<Homogeneity> {
    let mut cells = cells(before, after);
    let (m, n) = totals(&cells);
    if m == 0.0 || n == 0.0 {
        return None;
    }
    pool(&mut cells, LEAST_EXPECTED * (m + n) / m.min(n));
    if cells.len() < 2 {
        return None;
    }
    let statistic: f64 = cells
        .iter()
        .map(|&(a, b)| {
            let (first, second) = ((a + b) * (m / (m + n)), (a + b) * (n / (m + n)));
            (a - first).powi(2) / first + (b - second).powi(2) / second
        })
        .sum();
    let degrees = (cells.len() - 1) as f64;
    let p_value = match cells[..] {
        [(a, b), _] => {
            two_proportions(Proportion::new(a as u64, m as u64), Proportion::new(b as u64, n as u64))
        }
        _ => chi_square_upper(statistic, degrees),
    };
    Some(Homogeneity { statistic, degrees, p_value, cramers_v: (statistic / (m + n)).sqrt().min(1.0) })
}

/// How far two groups' spreads over categories are apart, from 0 (alike) to 1 (no category in common): the divergence of Jensen
/// and Shannon in bits (Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37
/// (1991)). None if a group is empty.
///
/// Small samples are apart by chance alone; whether that is all there is, [`homogeneity`] tells.
pub fn jensen_shannon(before: &[u64], after: &[u64]) -> Option<f64> {
    let cells = cells(before, after);
    let (m, n) = totals(&cells);
    if m == 0.0 || n == 0.0 {
        return None;
    }
    let part = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).log2() } else { 0.0 };
    let sum: f64 = cells
        .iter()
        .map(|&(a, b)| {
            let (p, q) = (a / m, b / n);
            let middle = 0.5 * (p + q);
            part(p, middle) + part(q, middle)
        })
        .sum();
    Some((0.5 * sum).clamp(0.0, 1.0))
}

/// The counts of each category that has any.
fn cells(before: &[u64], after: &[u64]) -> Vec<(f64, f64)> {
    let count = |counts: &[u64], at: usize| counts.get(at).copied().unwrap_or_default() as f64;
    (0..before.len().max(after.len()))
        .map(|at| (count(before, at), count(after, at)))
        .filter(|&(a, b)| a + b > 0.0)
        .collect()
}

fn totals(cells: &[(f64, f64)]) -> (f64, f64) {
    cells.iter().fold((0.0, 0.0), |(m, n), (a, b)| (m + a, n + b))
}

/// Takes the rarest categories together until each has at least so many, or two are left.
fn pool(cells: &mut Vec<(f64, f64)>, least: f64) {
    cells.sort_by(|x, y| (y.0 + y.1).total_cmp(&(x.0 + x.1)));
    let mut pooled = (0.0, 0.0);
    while let Some(&(a, b)) = cells.last() {
        let together = pooled.0 + pooled.1;
        let left = cells.len() + usize::from(together > 0.0);
        if left <= 2 || (a + b >= least && (together == 0.0 || together >= least)) {
            break;
        }
        pooled = (pooled.0 + a, pooled.1 + b);
        cells.pop();
    }
    if pooled.0 + pooled.1 > 0.0 {
        cells.push(pooled);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: [u64; 4] = [10, 20, 30, 40];
    const AFTER: [u64; 4] = [20, 20, 25, 60];

    #[test]
    fn the_test_of_homogeneity_is_that_of_scipy() {
        // scipy.stats.chi2_contingency([BEFORE, AFTER], correction=False)
        let test = homogeneity(&BEFORE, &AFTER).unwrap();
        assert!((test.statistic - 5.072_727_272_727_273).abs() < 1e-12, "{test:?}");
        assert!((test.p_value - 0.166_548_502_655_244_9).abs() < 1e-12, "{test:?}");
        assert!((test.cramers_v - 0.150_151_438_705_909_66).abs() < 1e-12, "{test:?}");
        assert_eq!(test.degrees, 3.0);
    }

    #[test]
    fn the_divergence_is_that_of_scipy() {
        // scipy.spatial.distance.jensenshannon(BEFORE, AFTER, base=2) ** 2
        assert!((jensen_shannon(&BEFORE, &AFTER).unwrap() - 0.016_534_608_951_618_16).abs() < 1e-12);
        assert_eq!(jensen_shannon(&[5, 0], &[0, 9]), Some(1.0));
        assert_eq!(jensen_shannon(&[5, 10], &[10, 20]), Some(0.0));
        assert_eq!(jensen_shannon(&[], &[1]), None);
    }

    #[test]
    fn rare_categories_are_taken_together() {
        let rare = [[100, 100].as_slice(), &[1; 30]].concat();
        let test = homogeneity(&rare, &[90, 110]).unwrap();
        assert_eq!(test.degrees, 2.0);
        // One value that both have, 499 that one has: a chance of 2 in 501.
        let p_value = homogeneity(&[1; 500], &[0, 1]).unwrap().p_value;
        assert!((p_value - 2.0 / 501.0).abs() < 1e-12, "{p_value}");
        // Two categories: Fisher's test.
        let test = homogeneity(&[100, 0], &[95, 5]).unwrap();
        assert_eq!(test.degrees, 1.0);
    }

    #[test]
    fn groups_without_a_choice_claim_nothing() {
        assert_eq!(homogeneity(&[], &[]), None);
        assert_eq!(homogeneity(&[7], &[9]), None);
        assert_eq!(homogeneity(&[0, 0], &[3, 4]), None);
    }

    proptest! {
        #[test]
        fn any_counts_give_chances(
            before in prop::collection::vec(prop_oneof![0..40_u64, any::<u64>()], 0..12),
            after in prop::collection::vec(prop_oneof![0..40_u64, any::<u64>()], 0..12),
        ) {
            if let Some(test) = homogeneity(&before, &after) {
                prop_assert!((0.0..=1.0).contains(&test.p_value), "{test:?}");
                prop_assert!((0.0..=1.0).contains(&test.cramers_v), "{test:?}");
            }
            if let Some(divergence) = jensen_shannon(&before, &after) {
                prop_assert!((0.0..=1.0).contains(&divergence));
            }
        }
    }
}
