//! Numbers as people read them.

/// Returns the middle value, of an even number the lower of the two; `None` of none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Writes a number with about three digits that count.
pub(super) fn number(value: f64) -> String {
    if value >= 100.0 {
        grouped(value.round() as u64)
    } else if value >= 10.0 {
        trimmed(format!("{value:.1}"))
    } else if value >= 1.0 {
        trimmed(format!("{value:.2}"))
    } else {
        trimmed(format!("{value:.3}"))
    }
}

fn trimmed(decimals: String) -> String {
    decimals.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a whole number with a comma before every three digits.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_lower_of_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.0));
        assert_eq!(median([5.0].into_iter()), Some(5.0));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn numbers_are_as_precise_as_they_are_large() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0");
        check(0.0612, "0.061");
        check(0.5, "0.5");
        check(2.345, "2.35");
        check(25.04, "25");
        check(25.06, "25.1");
        check(812.6, "813");
        check(1_234_567.0, "1,234,567");
        check(100_000.0, "100,000");
    }
}
