//! Text of a known length, written without the heap.

use std::io::Write;

/// As many bytes as the longest decimal `i64` takes: `-9223372036854775808`.
pub(crate) const DECIMAL_BYTES_MAX: usize = 20;

/// Writes a number in decimal into `buffer` and returns the part that it took.
pub(crate) fn decimal(number: i64, buffer: &mut [u8; DECIMAL_BYTES_MAX]) -> &[u8] {
    let mut free = &mut buffer[..];
    write!(free, "{number}").expect("20 bytes hold every i64");
    let used = DECIMAL_BYTES_MAX - free.len();
    &buffer[..used]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_fits() {
        for number in [0, 7, -1, 1_614_265_330, i64::MAX, i64::MIN] {
            assert_eq!(decimal(number, &mut [0; DECIMAL_BYTES_MAX]), number.to_string().as_bytes());
        }
    }
}
