//! Where a walk goes on.

use crate::sqlite::trouble::Trouble;

/// Where the walk of a replay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After this number: the id of a delivery, or how many of those that were named.
    After(u128),
    /// Nowhere: it has come to its end.
    End,
}

/// How the end stands in a row. No number has so few bytes.
pub(crate) const END: &[u8] = b"end";

impl Place {
    pub(super) const BEGINNING: Self = Self::After(0);

    /// Reads the place of a job.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Trouble> {
        match bytes {
            [] => Ok(Self::BEGINNING),
            END => Ok(Self::End),
            _ => {
                let number = bytes.try_into().map_err(|error| Trouble::damaged("place of a job", error))?;
                Ok(Self::After(u128::from_be_bytes(number)))
            }
        }
    }

    /// The bytes that [`Place::read`] reads.
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::After(number) => number.to_be_bytes().to_vec(),
            Self::End => END.to_vec(),
        }
    }
}
