use super::*;

fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::new();
    for value in values {
        histogram.record(value);
    }
    histogram
}

#[test]
fn an_empty_histogram_reports_zeros() {
    assert_eq!(Histogram::new().percentiles(), Percentiles::default());
}

#[test]
fn small_values_are_exact() {
    let histogram = of(1..=100);
    assert_eq!(histogram.percentile(50.0), 50);
    assert_eq!(histogram.percentile(95.0), 95);
    assert_eq!(histogram.percentile(99.0), 99);
}

#[test]
fn large_values_are_at_most_one_step_too_high() {
    let histogram = of((1..=100_000).map(|i| i * 10));
    for (percent, exact) in [(50.0, 500_000.0), (95.0, 950_000.0), (99.0, 990_000.0)] {
        let reported = histogram.percentile(percent) as f64;
        assert!((exact..=exact * (1.0 + 1.0 / 128.0)).contains(&reported), "p{percent}: {reported}");
    }
}

#[test]
fn no_percentile_exceeds_the_maximum() {
    let histogram = of([1_000_003]);
    assert_eq!(histogram.percentiles().p50_ms, 1_000.003);
    assert_eq!(histogram.percentiles().max_ms, 1_000.003);
}

#[test]
fn every_value_lies_in_its_bucket_and_above_the_one_before() {
    let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]);
    for value in edges {
        let bucket = bucket_of(value);
        assert!(top_of(bucket) >= value, "{value} is above its bucket");
        assert!(bucket == 0 || top_of(bucket - 1) < value, "{value} belongs to an earlier bucket");
    }
}

#[test]
fn a_merged_histogram_is_that_of_all_values() {
    let mut merged = of(1..=500);
    merged.merge(&of(501..=1_000));
    assert_eq!(merged.percentiles(), of(1..=1_000).percentiles());
}
