//! Secrets at rest: envelope encryption under a master key.
//!
//! Each tenant has a data key that seals its secrets with AES-256-GCM; the master key wraps the data
//! keys. So the master key can be changed by wrapping a few keys anew, and a tenant's secrets can be
//! made unreadable by forgetting one.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use harbor_model::chance::Rng;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// What wraps every other key. It has no `Debug` text, and its memory is wiped.
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

/// Says why a text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 32 bytes, written as 64 hexadecimal digits or as base64")]
pub struct MasterKeyError;

impl MasterKey {
    /// Takes 32 bytes as the master key.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Draws a new master key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rng.fill_secret(&mut *bytes);
        Self(bytes)
    }

    /// Reads a master key from 64 hexadecimal digits or from base64; blanks around it are no part of it.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => hex::decode(text).map_err(|_| MasterKeyError)?,
            _ => BASE64.decode(text).map_err(|_| MasterKeyError)?,
        };
        let mut bytes = Zeroizing::new(bytes);
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| MasterKeyError)?;
        bytes.zeroize();
        Ok(Self::from_bytes(key))
    }

    /// The key as [`MasterKey::parse`] reads it, for a file that only its owner may read.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.0.as_slice()))
    }

    /// Derives a key for another purpose (HKDF-SHA256). Whoever knows it learns nothing of this one.
    pub fn derive(&self, label: &str) -> [u8; KEY_BYTES] {
        let mut derived = [0; KEY_BYTES];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"harborhook")
            .extract(&*self.0)
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("HKDF yields up to 255 times its hash");
        derived
    }

    /// Names the key without telling it: what a store written under it remembers.
    pub(crate) fn fingerprint(&self) -> [u8; KEY_BYTES] {
        self.derive("fingerprint of the master key")
    }

    /// What wraps data keys. The master key itself never encrypts, so that its uses cannot meet.
    fn wrapping(&self) -> DataKey {
        DataKey::new(&Zeroizing::new(self.derive("wrapping of data keys")))
    }

    /// Wraps a data key for storage; `place` says where it will stand.
    pub(crate) fn wrap(&self, key: &[u8; KEY_BYTES], place: &str, rng: &dyn Rng) -> Vec<u8> {
        self.wrapping().seal(key, place, rng)
    }

    /// Takes a data key out of its wrapping.
    pub(crate) fn unwrap(&self, wrapped: &[u8], place: &str) -> Result<DataKey, SealBroken> {
        let bytes = self.wrapping().open(wrapped, place)?;
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| SealBroken)?;
        Ok(DataKey::new(&Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Says that sealed bytes were changed, moved, or sealed under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value was changed, moved or sealed under another key")]
pub(crate) struct SealBroken;

/// How sealed bytes begin; the next way to seal gets the next number.
const FORMAT: u8 = 1;

/// What seals one tenant's secrets.
pub(crate) struct DataKey(LessSafeKey);

impl DataKey {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the cipher's length");
        Self(LessSafeKey::new(key))
    }

    /// Seals `plain` for one place: it opens nowhere else.
    ///
    /// The nonce is random. A data key would have to seal four billion values before a repeat became
    /// likely enough to matter; a tenant's endpoints are changed thousands of times at most.
    pub(crate) fn seal(&self, plain: &[u8], place: &str, rng: &dyn Rng) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_secret(&mut nonce);
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(1 + NONCE_LEN);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                text,
            )
            .expect("AES-GCM takes texts of this length");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, sealed: &[u8], place: &str) -> Result<Zeroizing<Vec<u8>>, SealBroken> {
        let (format, rest) = sealed.split_first().ok_or(SealBroken)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealBroken)?;
        if *format != FORMAT {
            return Err(SealBroken);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealBroken)?;
        let mut plain = Zeroizing::new(text.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut plain)
            .map_err(|_| SealBroken)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Draws the bytes of a new data key.
pub(crate) fn draw_data_key(rng: &dyn Rng) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rng.fill_secret(&mut *bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use harbor_model::chance::SeededRng;

    use super::*;

    #[test]
    fn a_master_key_survives_its_text_and_shows_nothing() {
        let key = MasterKey::generate(&SeededRng::new(1));
        let again = MasterKey::parse(&format!(" {}\n", *key.to_text())).unwrap();
        assert_eq!(key.derive("x"), again.derive("x"));
        let from_hex = MasterKey::parse(&hex::encode(*key.0)).unwrap();
        assert_eq!(key.derive("x"), from_hex.derive("x"));
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
        for refused in ["", "abc", &"0".repeat(63), &"zz".repeat(32), &BASE64.encode([0; 31])] {
            assert_eq!(MasterKey::parse(refused).err(), Some(MasterKeyError), "{refused}");
        }
    }

    #[test]
    fn each_label_derives_its_own_key() {
        let key = MasterKey::from_bytes([7; 32]);
        assert_eq!(key.derive("a"), key.derive("a"));
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_ne!(key.derive("a"), MasterKey::from_bytes([8; 32]).derive("a"));
    }

    #[test]
    fn what_is_sealed_opens_only_in_its_place_under_its_key_and_unchanged() {
        let rng = SeededRng::new(1);
        let master = MasterKey::from_bytes([7; 32]);
        let wrapped = master.wrap(&draw_data_key(&rng), "tenant a", &rng);
        let key = master.unwrap(&wrapped, "tenant a").unwrap();
        let sealed = key.seal(b"whsec_abc", "endpoint 1", &rng);

        assert_eq!(**key.open(&sealed, "endpoint 1").unwrap(), *b"whsec_abc");
        assert_eq!(key.open(&sealed, "endpoint 2").err(), Some(SealBroken));
        assert_eq!(master.unwrap(&wrapped, "tenant b").err(), Some(SealBroken));
        assert_eq!(MasterKey::from_bytes([8; 32]).unwrap(&wrapped, "tenant a").err(), Some(SealBroken));
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(key.open(&changed, "endpoint 1").err(), Some(SealBroken), "byte {position}");
            assert_eq!(key.open(&sealed[..position], "endpoint 1").err(), Some(SealBroken), "cut {position}");
        }
        assert_ne!(sealed, key.seal(b"whsec_abc", "endpoint 1", &rng), "a nonce is never used twice");
    }
}
