//! A histogram of latencies with buckets that grow with the value.

use serde::{Deserialize, Serialize};

/// Buckets in each power of two; a reported value is at most 1/128 above the true one.
const STEPS: u64 = 128;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
const OCTAVES: usize = (u64::BITS - STEPS_LOG2) as usize + 1;

/// Counts values in microseconds; recording costs a few nanoseconds whatever was recorded before.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// The percentiles that are reported, in milliseconds; all zero when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The value that half of the values do not exceed.
    pub p50_ms: f64,
    /// The value that 95 % of the values do not exceed.
    pub p95_ms: f64,
    /// The value that 99 % of the values do not exceed.
    pub p99_ms: f64,
    /// The largest value.
    pub max_ms: f64,
}

impl Histogram {
    /// Makes an empty histogram.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; OCTAVES * STEPS as usize], count: 0, max: 0 }
    }

    /// Counts one value.
    pub(crate) fn record(&mut self, micros: u64) {
        self.buckets[bucket_of(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// Adds all that another histogram counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// Summarises what was recorded.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let ms = |micros: u64| micros as f64 / 1e3;
        Percentiles {
            p50_ms: ms(self.percentile(50.0)),
            p95_ms: ms(self.percentile(95.0)),
            p99_ms: ms(self.percentile(99.0)),
            max_ms: ms(self.max),
        }
    }

    /// Returns the smallest value, rounded up to its bucket, that `percent` of the values do not exceed.
    fn percentile(&self, percent: f64) -> u64 {
        let rank = ((self.count as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut passed = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            passed += count;
            if passed >= rank {
                return top_of(bucket).min(self.max);
            }
        }
        0
    }
}

fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS_LOG2;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let step = bucket - shift * STEPS;
    // Widened, since the top of the last bucket is the largest value there is.
    (((u128::from(step) + 1) << shift) - 1) as u64
}

#[cfg(test)]
mod tests;
