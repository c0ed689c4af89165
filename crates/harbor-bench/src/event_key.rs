//! Event ids in the short form in which load and receiver remember them.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

/// Returns the key of an event id, the same in every process.
///
/// Eight bytes instead of thirty keep millions of ids cheap; that two of four million share a key
/// happens in one run of two million.
pub(crate) fn of(event_id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(event_id);
    hasher.finish()
}

/// Writes keys to a file for another process to read.
pub(crate) fn write_file(path: &Path, keys: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads the keys that another process wrote.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u64>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (keys, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "a file of keys is a multiple of eight bytes");
    Ok(keys.iter().map(|key| u64::from_le_bytes(*key)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let keys = [of(b"evt_1"), of(b"evt_2"), 0, u64::MAX];
        write_file(&path, &keys).unwrap();
        assert_eq!(read_file(&path).unwrap(), keys);
    }

    #[test]
    fn ids_have_keys_of_their_own() {
        assert_eq!(of(b"evt_1"), of(b"evt_1"));
        assert_ne!(of(b"evt_1"), of(b"evt_2"));
    }
}
