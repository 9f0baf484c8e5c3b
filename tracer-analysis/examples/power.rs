//! How often the comparisons err, and what they see: `cargo run --release -p tracer-analysis --example power`.
//!
//! Simulated samples with known truth. The first table is of samples between which nothing changed: every `Worse` or `Better` is
//! false. The others are of samples that did change.

#![forbid(unsafe_code)]

use std::env;

use tracer_analysis::statistics::{
    ALPHA, CONFIDENCE, Proportion, Scale, Verdict, benjamini_hochberg, homogeneity, level_changes,
    mann_whitney, overall_ratio, proportion_changes, proportion_difference, quantile_change, random::Random,
    two_proportions,
};

const SIZES: [usize; 4] = [50, 200, 1000, 5000];
const LATENCY_TOLERANCE: f64 = 0.05;
const ERROR_TOLERANCE: f64 = 0.002;
const BUCKETS: usize = 360;

fn main() {
    let rounds = env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(2000);
    println!("{rounds} repetitions of each; confidence {CONFIDENCE}, p-values below {ALPHA}.\n");
    let mut random = Random::new(17);
    false_verdicts(&mut random, rounds);
    latency_power(&mut random, rounds);
    error_power(&mut random, rounds);
    change_points(&mut random, rounds / 2);
}

fn false_verdicts(random: &mut Random, rounds: usize) {
    println!("### Nothing changed: false verdicts\n");
    println!(
        "| comparison | n = {} | {} | {} | {} |\n|---|---|---|---|---|",
        SIZES[0], SIZES[1], SIZES[2], SIZES[3]
    );
    for sigma in [0.5, 1.0] {
        for q in [0.5, 0.9, 0.95] {
            row(&format!("quantile {q} of durations, sigma {sigma}"), |size| {
                share(rounds, || is_change(latency_verdict(random, size, sigma, 1.0, q)))
            });
        }
        row(&format!("overall ratio of durations, sigma {sigma}"), |size| {
            share(rounds, || is_change(overall_verdict(random, size, sigma, 1.0)))
        });
        row(&format!("Mann–Whitney of durations, sigma {sigma}"), |size| {
            share(rounds, || {
                let (before, after) =
                    (durations(random, size, sigma, 1.0), durations(random, size, sigma, 1.0));
                mann_whitney(&before, &after, CONFIDENCE).is_some_and(|test| test.p_value < ALPHA)
            })
        });
    }
    for rate in [0.0, 0.01, 0.1] {
        row(&format!("proportion of errors, {} %", rate * 100.0), |size| {
            share(rounds, || is_change(error_verdict(random, size, rate, rate)))
        });
        row(&format!("test of two proportions, {} %", rate * 100.0), |size| {
            share(rounds, || two_proportions(errors(random, size, rate), errors(random, size, rate)) < ALPHA)
        });
    }
    row("homogeneity of 20 values, uneven", |size| {
        share(rounds, || {
            let (before, after) = (values(random, size), values(random, size));
            homogeneity(&before, &after).is_some_and(|test| test.p_value < ALPHA)
        })
    });
    row("any of 50 attributes, after Benjamini–Hochberg", |size| {
        share(rounds / 5, || {
            let p_values: Vec<f64> = (0..50)
                .filter_map(|_| Some(homogeneity(&values(random, size), &values(random, size))?.p_value))
                .collect();
            benjamini_hochberg(&p_values).iter().any(|p_value| *p_value < ALPHA)
        })
    });
}

fn latency_power(random: &mut Random, rounds: usize) {
    println!(
        "\n### Slower: verdict \"worse\" by the ratio of medians and by the overall ratio, tolerance {LATENCY_TOLERANCE}\n"
    );
    println!(
        "| change | n = {} | {} | {} | {} |\n|---|---|---|---|---|",
        SIZES[0], SIZES[1], SIZES[2], SIZES[3]
    );
    for sigma in [0.5, 1.0] {
        for ratio in [1.05, 1.1, 1.15, 1.25] {
            row(&format!("+{:.0} %, sigma {sigma}", (ratio - 1.0) * 100.0), |size| {
                share(rounds, || latency_verdict(random, size, sigma, ratio, 0.5) == Verdict::Worse)
            });
        }
        for ratio in [1.05, 1.1, 1.15, 1.25] {
            row(&format!("+{:.0} %, sigma {sigma}, overall ratio", (ratio - 1.0) * 100.0), |size| {
                share(rounds, || overall_verdict(random, size, sigma, ratio) == Verdict::Worse)
            });
        }
        row(&format!("none, sigma {sigma}: verdict \"unchanged\" by the median"), |size| {
            share(rounds, || latency_verdict(random, size, sigma, 1.0, 0.5) == Verdict::Unchanged)
        });
        row(&format!("none, sigma {sigma}: verdict \"unchanged\" by the overall ratio"), |size| {
            share(rounds, || overall_verdict(random, size, sigma, 1.0) == Verdict::Unchanged)
        });
    }
}

fn error_power(random: &mut Random, rounds: usize) {
    println!("\n### More errors: verdict \"worse\", tolerance {ERROR_TOLERANCE}\n");
    println!(
        "| change | n = {} | {} | {} | {} |\n|---|---|---|---|---|",
        SIZES[0], SIZES[1], SIZES[2], SIZES[3]
    );
    for (before, after) in [(0.01, 0.02), (0.01, 0.05), (0.0, 0.01), (0.0, 0.1)] {
        row(&format!("{} % to {} %", before * 100.0, after * 100.0), |size| {
            share(rounds, || error_verdict(random, size, before, after) == Verdict::Worse)
        });
    }
}

fn change_points(random: &mut Random, rounds: usize) {
    println!("\n### Change points in {BUCKETS} buckets\n");
    println!(
        "| series | false alarms | found within 3 buckets: change at 180 | last 6 buckets | last 3 |\n|---|---|---|---|---|"
    );
    for (noise, correlation) in [(0.1, 0.0), (0.1, 0.3), (0.2, 0.3)] {
        let mut found = |at: usize| {
            share(rounds, || {
                let series = latencies(random, noise, correlation, at);
                near(
                    &level_changes(&series, Scale::Ratio, ALPHA).iter().map(|c| c.index).collect::<Vec<_>>(),
                    at,
                )
            })
        };
        let [steady, middle, six, three] = [BUCKETS, BUCKETS / 2, BUCKETS - 6, BUCKETS - 3].map(&mut found);
        println!(
            "| latency doubled, noise {noise}, correlation {correlation} | {} | {middle} | {six} | {three} |",
            steady
        );
    }
    for (requests, rate) in [(20, 0.0), (100, 0.0), (100, 0.01)] {
        let mut found = |at: usize| {
            share(rounds, || {
                let series: Vec<Proportion> = (0..BUCKETS)
                    .map(|bucket| errors(random, requests, if bucket < at { rate } else { rate + 0.1 }))
                    .collect();
                near(&proportion_changes(&series, ALPHA).iter().map(|c| c.index).collect::<Vec<_>>(), at)
            })
        };
        let [steady, middle, six, three] = [BUCKETS, BUCKETS / 2, BUCKETS - 6, BUCKETS - 3].map(&mut found);
        let percent = rate * 100.0;
        println!(
            "| errors {percent} % to {} %, {requests} requests a bucket | {steady} | {middle} | {six} | {three} |",
            percent + 10.0
        );
    }
}

/// Whether one change was found, near to where it is. For a steady series, whether any was found.
fn near(found: &[usize], at: usize) -> bool {
    if at == BUCKETS { !found.is_empty() } else { found.len() == 1 && found[0].abs_diff(at) <= 3 }
}

fn row(name: &str, measure: impl FnMut(usize) -> String) {
    let cells: Vec<String> = SIZES.map(measure).into();
    println!("| {name} | {} |", cells.join(" | "));
}

fn share(rounds: usize, mut holds: impl FnMut() -> bool) -> String {
    let held = (0..rounds).filter(|_| holds()).count();
    format!("{:.2} %", held as f64 / rounds.max(1) as f64 * 100.0)
}

fn is_change(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Better | Verdict::Worse)
}

fn latency_verdict(random: &mut Random, size: usize, sigma: f64, ratio: f64, q: f64) -> Verdict {
    let (before, after) = (durations(random, size, sigma, 1.0), durations(random, size, sigma, ratio));
    quantile_change(&before, &after, q, CONFIDENCE)
        .and_then(|change| change.ratio)
        .map_or(Verdict::NotEnough, |ratio| Verdict::of_ratio(ratio, LATENCY_TOLERANCE))
}

fn overall_verdict(random: &mut Random, size: usize, sigma: f64, ratio: f64) -> Verdict {
    let (before, after) = (durations(random, size, sigma, 1.0), durations(random, size, sigma, ratio));
    overall_ratio(&before, &after, CONFIDENCE)
        .map_or(Verdict::NotEnough, |ratio| Verdict::of_ratio(ratio, LATENCY_TOLERANCE))
}

fn error_verdict(random: &mut Random, size: usize, before: f64, after: f64) -> Verdict {
    proportion_difference(errors(random, size, before), errors(random, size, after), CONFIDENCE)
        .map_or(Verdict::NotEnough, |estimate| Verdict::of_difference(estimate, ERROR_TOLERANCE))
}

/// Lognormal durations with this median, in milliseconds.
fn durations(random: &mut Random, size: usize, sigma: f64, median: f64) -> Vec<f64> {
    (0..size).map(|_| median * (sigma * random.normal()).exp()).collect()
}

fn errors(random: &mut Random, size: usize, rate: f64) -> Proportion {
    let failed = (0..size).filter(|_| random.uniform() < rate).count();
    Proportion::new(failed as u64, size as u64)
}

/// Counts of 20 values, each a fifth rarer than the one before.
fn values(random: &mut Random, size: usize) -> Vec<u64> {
    let mut counts = vec![0; 20];
    for _ in 0..size {
        let value = (random.uniform().ln() / 0.8_f64.ln()) as usize;
        counts[value.min(19)] += 1;
    }
    counts
}

/// Latencies by bucket, doubled from a moment on.
fn latencies(random: &mut Random, noise: f64, correlation: f64, at: usize) -> Vec<Option<f64>> {
    let mut state = 0.0;
    (0..BUCKETS)
        .map(|bucket| {
            state = correlation * state + (1.0_f64 - correlation * correlation).sqrt() * random.normal();
            Some((noise * state).exp() * if bucket < at { 1.0 } else { 2.0 })
        })
        .collect()
}
