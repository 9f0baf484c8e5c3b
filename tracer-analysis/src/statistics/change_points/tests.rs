use proptest::prelude::*;

use super::*;
use crate::statistics::{ALPHA, random::Random};

const BUCKETS: usize = 360;

/// Knuth's method; fine for means up to some hundreds.
fn poisson(random: &mut Random, mean: f64) -> u64 {
    let (mut count, mut left) = (0, mean);
    loop {
        left += random.uniform().ln();
        if left < 0.0 {
            return count;
        }
        count += 1;
    }
}

/// The median of a bucket's durations, whose noise is correlated with that of the bucket before.
fn latencies(
    random: &mut Random,
    noise: f64,
    correlation: f64,
    level: impl Fn(usize) -> f64,
) -> Vec<Option<f64>> {
    let mut state = 0.0;
    (0..BUCKETS)
        .map(|bucket| {
            state = correlation * state + (1.0 - correlation * correlation).sqrt() * random.normal();
            Some(level(bucket) * (noise * state).exp())
        })
        .collect()
}

fn failures(random: &mut Random, requests: f64, rate: impl Fn(usize) -> f64) -> Vec<Proportion> {
    (0..BUCKETS)
        .map(|bucket| {
            let total = poisson(random, requests);
            let failed = (0..total).filter(|_| random.uniform() < rate(bucket)).count();
            Proportion::new(failed as u64, total)
        })
        .collect()
}

fn told_of(series: usize, mut told: impl FnMut(&mut Random) -> Vec<ChangePoint>) -> Vec<Vec<ChangePoint>> {
    let mut random = Random::new(1);
    (0..series).map(|_| told(&mut random)).collect()
}

fn false_alarms(told: &[Vec<ChangePoint>]) -> f64 {
    told.iter().filter(|changes| !changes.is_empty()).count() as f64 / told.len() as f64
}

/// How often one change is told, within three buckets of the true one.
fn power(told: &[Vec<ChangePoint>], at: usize) -> f64 {
    let right = |changes: &&Vec<ChangePoint>| changes.len() == 1 && changes[0].index.abs_diff(at) <= 3;
    told.iter().filter(right).count() as f64 / told.len() as f64
}

#[test]
fn steady_latency_with_some_correlation_shows_no_change() {
    for (noise, correlation) in [(0.1, 0.0), (0.5, 0.2), (0.2, 0.4)] {
        let told = told_of(200, |random| {
            level_changes(&latencies(random, noise, correlation, |_| 1e7), Scale::Ratio, ALPHA)
        });
        assert!(false_alarms(&told) <= 0.01, "{noise} {correlation}: {}", false_alarms(&told));
    }
}

#[test]
fn steady_latency_that_jumps_far_at_times_shows_no_change() {
    let told = told_of(200, |random| {
        let values: Vec<_> = (0..BUCKETS)
            .map(|_| {
                let spike = if random.uniform() < 0.01 { 20.0 } else { 1.0 };
                Some(1e7 * spike * (0.2 * random.normal()).exp())
            })
            .collect();
        level_changes(&values, Scale::Ratio, ALPHA)
    });
    assert!(false_alarms(&told) <= 0.01, "{}", false_alarms(&told));
}

#[test]
fn steady_counts_show_no_change() {
    for mean in [0.2, 3.0, 100.0] {
        let told = told_of(200, |random| {
            let counts: Vec<_> = (0..BUCKETS).map(|_| Some(poisson(random, mean) as f64)).collect();
            level_changes(&counts, Scale::Count, ALPHA)
        });
        assert!(false_alarms(&told) <= 0.01, "{mean}: {}", false_alarms(&told));
    }
}

#[test]
fn steady_failures_show_no_change() {
    for (requests, rate) in [(10.0, 0.01), (50.0, 0.02), (20.0, 0.4)] {
        let told = told_of(200, |random| proportion_changes(&failures(random, requests, |_| rate), ALPHA));
        assert!(false_alarms(&told) <= 0.01, "{requests} {rate}: {}", false_alarms(&told));
    }
}

#[test]
fn failures_in_bursts_show_no_change() {
    let told = told_of(200, |random| {
        let buckets: Vec<_> = (0..BUCKETS)
            .map(|_| {
                let burst = if random.uniform() < 0.05 { poisson(random, 10.0) } else { 0 };
                Proportion::new(burst, 100)
            })
            .collect();
        proportion_changes(&buckets, ALPHA)
    });
    assert!(false_alarms(&told) <= 0.01, "{}", false_alarms(&told));
}

#[test]
fn doubled_latency_is_found_even_if_only_the_last_three_buckets_show_it() {
    for at in [3, 100, 340, 357] {
        let told = told_of(50, |random| {
            let level = |bucket| if bucket < at { 1e7 } else { 2e7 };
            level_changes(&latencies(random, 0.1, 0.2, level), Scale::Ratio, ALPHA)
        });
        assert!(power(&told, at) >= 0.95, "{at}: {}", power(&told, at));
    }
}

#[test]
fn failures_of_a_tenth_are_found_even_if_only_the_last_three_buckets_show_it() {
    for at in [100, 340, 357] {
        let told = told_of(50, |random| {
            let rate = |bucket| if bucket < at { 0.0 } else { 0.1 };
            proportion_changes(&failures(random, 60.0, rate), ALPHA)
        });
        assert!(power(&told, at) >= 0.95, "{at}: {}", power(&told, at));
    }
}

#[test]
fn a_fault_that_ends_again_is_two_changes_with_their_levels() {
    let mut random = Random::new(3);
    let level = |bucket| if (200..206).contains(&bucket) { 3e7 } else { 1e7 };
    let changes = level_changes(&latencies(&mut random, 0.1, 0.2, level), Scale::Ratio, ALPHA);
    assert_eq!(changes.iter().map(|change| change.index).collect::<Vec<_>>(), [200, 206]);
    assert!((changes[0].before / 1e7 - 1.0).abs() < 0.1, "{changes:?}");
    assert!((changes[0].after / 3e7 - 1.0).abs() < 0.2, "{changes:?}");
    assert_eq!(changes[0].after, changes[1].before);
    assert!(changes.iter().all(|change| change.p_value <= ALPHA), "{changes:?}");
}

#[test]
fn empty_buckets_are_left_out_and_places_are_those_of_the_input() {
    let buckets: Vec<_> = (0..240_u64)
        .map(|bucket| match bucket {
            _ if bucket % 2 == 0 => Proportion::default(),
            121.. => Proportion::new(30, 100),
            _ => Proportion::new(bucket % 3, 100),
        })
        .collect();
    let changes = proportion_changes(&buckets, ALPHA);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].index, 121);
    assert_eq!(changes[0].after, 0.3);
    let values: Vec<_> = (0..240_u32)
        .map(|bucket| (bucket % 2 == 1).then(|| f64::from(if bucket < 121 { 100 } else { 200 } + bucket % 7)))
        .collect();
    let changes = level_changes(&values, Scale::Difference, ALPHA);
    assert_eq!(changes.iter().map(|change| change.index).collect::<Vec<_>>(), [121]);
}

#[test]
fn levels_that_do_not_vary_show_their_change() {
    for scale in [Scale::Ratio, Scale::Count, Scale::Difference] {
        let values: Vec<_> = (0..120).map(|bucket| Some(if bucket < 70 { 100.0 } else { 200.0 })).collect();
        let changes = level_changes(&values, scale, ALPHA);
        assert_eq!(changes.len(), 1, "{scale:?}");
        assert_eq!((changes[0].index, changes[0].before, changes[0].after), (70, 100.0, 200.0));
    }
    assert_eq!(level_changes(&[Some(5.0); 200], Scale::Difference, ALPHA), []);
}

#[test]
fn seeded_intervals_cost_n_log_n() {
    for len in [0, 5, 6, 100, 10_000] {
        let intervals = seeded_intervals(len);
        let total: usize = intervals.iter().map(Range::len).sum();
        assert!(total as f64 <= 5.0 * len as f64 * (len.max(2) as f64).log2(), "{len}: {total}");
        assert!(intervals.iter().all(|interval| interval.end <= len && interval.len() >= 6), "{len}");
    }
    assert_eq!(seeded_intervals(100)[0], 0..100);
}

proptest! {
    #[test]
    fn any_series_gives_changes_in_order(values in prop::collection::vec(prop::option::of(any::<f64>()), 0..120)) {
        for scale in [Scale::Ratio, Scale::Count, Scale::Difference] {
            let changes = level_changes(&values, scale, ALPHA);
            prop_assert!(changes.windows(2).all(|pair| pair[0].index < pair[1].index));
            prop_assert!(changes.iter().all(|change| change.index < values.len() && change.p_value < ALPHA * 1.000_001));
        }
    }

    #[test]
    fn any_counts_give_changes_in_order(counts in prop::collection::vec((any::<u64>(), any::<u64>()), 0..60)) {
        let buckets: Vec<_> = counts.iter().map(|&(count, total)| Proportion { count, total }).collect();
        let changes = proportion_changes(&buckets, ALPHA);
        prop_assert!(changes.windows(2).all(|pair| pair[0].index < pair[1].index));
        prop_assert!(changes.iter().all(|change| (0.0..=1.0).contains(&change.p_value)));
    }
}
