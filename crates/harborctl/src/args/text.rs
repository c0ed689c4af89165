//! Texts from the command line, a file or stdin.

use std::fmt::Display;
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
    decode(read_bytes(path)?, &name_of(path))
}

/// As [`read`], byte for byte.
///
/// # Errors
/// It cannot be read, or is too large.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = name_of(path);
    if path.as_os_str() == "-" {
        return read_from(io::stdin().lock(), &name);
    }
    let file = File::open(path).map_err(|error| unreadable(&name, error))?;
    read_from(file, &name)
}

/// What to call a file, or stdin where it is called `-`.
pub(crate) fn name_of(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() }
}

/// The text itself, or stdin where it is `-`.
///
/// # Errors
/// Stdin cannot be read, is too large, or is no UTF-8.
pub(crate) fn given_or_stdin(text: String) -> Result<String, Failure> {
    if text == "-" { read(Path::new("-")) } else { Ok(text) }
}

/// A secret as it was given, or from stdin where it is `-`.
///
/// A line from stdin ends with a line end that is not part of the secret.
///
/// # Errors
/// As [`given_or_stdin`].
pub(crate) fn secret(given: Option<String>) -> Result<Option<String>, Failure> {
    let secret = given.map(given_or_stdin).transpose()?;
    Ok(secret.map(|secret| secret.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read_from(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = source.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(name, error))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(unreadable(name, format_args!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn decode(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| unreadable(name, "it is not UTF-8"))
}

fn unreadable(name: &str, reason: impl Display) -> Failure {
    Failure::Usage(format!("cannot read {name}: {reason}"))
}
