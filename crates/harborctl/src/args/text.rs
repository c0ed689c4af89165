//! Texts from the command line, a file or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// The most bytes that are read; a server takes far less.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads a file, or stdin where it is called `-`.
///
/// # Errors
/// It cannot be read, is too large, or is no UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    if path.as_os_str() == "-" {
        return read_from(io::stdin().lock(), "stdin");
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
    read_from(file, &name)
}

/// The text itself, or stdin where it is `-`.
///
/// # Errors
/// Stdin cannot be read, is too large, or is no UTF-8.
pub(crate) fn given_or_stdin(text: String) -> Result<String, Failure> {
    if text == "-" { read_from(io::stdin().lock(), "stdin") } else { Ok(text) }
}

fn read_from(source: impl Read, name: &str) -> Result<String, Failure> {
    let unusable = |reason: &str| Failure::Usage(format!("cannot read {name}: {reason}"));
    let mut bytes = Vec::new();
    let read = source.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| unusable(&error.to_string()))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(unusable(&format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8"))
}
