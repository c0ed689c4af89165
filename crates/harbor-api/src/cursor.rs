//! Cursors: where the next page of a list begins, sealed so that nobody can make one up.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harbor_model::port::page::Position;

/// The layout of a cursor's bytes; another one is refused.
const VERSION: u8 = 1;

/// How much of the HMAC-SHA-256 a cursor carries.
const SEAL_BYTES: usize = 16;

const POSITION_BYTES: usize = 16;

/// Makes and reads cursors.
pub(crate) struct CursorSeal(hmac::Key);

/// Which list a cursor belongs to: its name, whose it is, and by what it is filtered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListScope<'a> {
    pub(crate) list: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) filter: &'a str,
}

/// Says that a cursor is not one that this list gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list with these filters")]
pub(crate) struct CursorError;

impl CursorSeal {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The cursor of a position in a list.
    pub(crate) fn seal(&self, scope: ListScope<'_>, position: Position) -> String {
        let mut bytes = Vec::with_capacity(1 + POSITION_BYTES + SEAL_BYTES);
        bytes.push(VERSION);
        bytes.extend(position.0.to_be_bytes());
        let tag = self.tag(scope, &bytes);
        bytes.extend(&tag.as_ref()[..SEAL_BYTES]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that a cursor of this list names.
    pub(crate) fn open(&self, scope: ListScope<'_>, cursor: &str) -> Result<Position, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError)?;
        let (body, seal) = bytes.split_at_checked(1 + POSITION_BYTES).ok_or(CursorError)?;
        let tag = self.tag(scope, body);
        constant_time::verify_slices_are_equal(&tag.as_ref()[..SEAL_BYTES], seal).map_err(|_| CursorError)?;
        match body.split_first() {
            Some((&VERSION, position)) => {
                let position = position.try_into().expect("the body was split at this length");
                Ok(Position(u128::from_be_bytes(position)))
            }
            Some(_) | None => Err(CursorError),
        }
    }

    fn tag(&self, scope: ListScope<'_>, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [scope.list, scope.owner, scope.filter] {
            // With its length before it, no part can be read as the end of another.
            context.update(&u64::try_from(part.len()).expect("a length fits 64 bits").to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(body);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: ListScope<'_> = ListScope { list: "deliveries", owner: "acme", filter: "status=dead" };

    #[test]
    fn a_cursor_opens_in_its_own_list_alone() {
        let seal = CursorSeal::new(&[1; 32]);
        let cursor = seal.seal(SCOPE, Position(u128::MAX - 5));
        assert_eq!(seal.open(SCOPE, &cursor), Ok(Position(u128::MAX - 5)));

        for scope in [
            ListScope { list: "events", ..SCOPE },
            ListScope { owner: "other", ..SCOPE },
            ListScope { filter: "", ..SCOPE },
            ListScope { list: "deliveriesacme", owner: "", ..SCOPE },
        ] {
            assert_eq!(seal.open(scope, &cursor), Err(CursorError), "{scope:?}");
        }
        assert_eq!(CursorSeal::new(&[2; 32]).open(SCOPE, &cursor), Err(CursorError));
    }

    #[test]
    fn what_was_changed_or_made_up_is_refused() {
        let seal = CursorSeal::new(&[1; 32]);
        let cursor = seal.seal(SCOPE, Position(7));
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let forged = BASE64_URL_SAFE_NO_PAD.encode(&bytes);
            assert_eq!(seal.open(SCOPE, &forged), Err(CursorError), "byte {at}");
            bytes[at] ^= 1;
        }
        let longer = format!("{cursor}AAAA");
        for text in ["", "x", "abc", &cursor[1..], &longer, "\u{e9}", "%00"] {
            assert_eq!(seal.open(SCOPE, text), Err(CursorError), "{text}");
        }
    }
}
