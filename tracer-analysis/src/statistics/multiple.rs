//! Many tests at once.

/// The p-values of many tests, corrected for their number by the method of Benjamini and Hochberg ("Controlling the false
/// discovery rate", Journal of the Royal Statistical Society B 57 (1995)), each in its place.
///
/// Of all that is below a limit, a share of at most that limit is there by chance, if the tests are independent or depend on
/// each other positively. A value that is not a number counts as 1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(f64, usize)> = p_values
        .iter()
        .enumerate()
        .map(|(place, &p)| (if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }, place))
        .collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut corrected = vec![1.0; p_values.len()];
    let mut least = 1.0_f64;
    for (rank, &(p, place)) in order.iter().enumerate().rev() {
        least = least.min(p * (p_values.len() as f64 / (rank + 1) as f64));
        corrected[place] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn corrected_values_are_those_of_scipy() {
        // scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.005, 0.8])
        let corrected = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005, 0.8]);
        for (ours, theirs) in corrected.iter().zip([0.025, 0.05, 0.05, 0.025, 0.8]) {
            assert!((ours - theirs).abs() < 1e-12, "{corrected:?}");
        }
        assert_eq!(benjamini_hochberg(&[]), Vec::<f64>::new());
        assert_eq!(benjamini_hochberg(&[f64::NAN]), [1.0]);
    }

    proptest! {
        #[test]
        fn no_corrected_value_is_less_than_its_own(p_values in prop::collection::vec(0.0..=1.0, 0..50)) {
            let corrected = benjamini_hochberg(&p_values);
            for (a, (&p, &q)) in p_values.iter().zip(&corrected).enumerate() {
                prop_assert!(q >= p && q <= 1.0);
                for b in 0..a {
                    prop_assert!(p_values[b] > p || corrected[b] <= q);
                }
            }
        }
    }
}
