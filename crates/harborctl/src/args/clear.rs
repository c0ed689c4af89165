//! `--clear FIELD` beside the flags that set fields.

use clap::ValueEnum;
use harbor_wire::patch::Patch;

use crate::failure::Failure;

/// The fields that are to be returned to their inherited values.
pub(crate) struct Clear<'a, F> {
    /// What `--clear` names.
    pub(crate) fields: &'a [F],
}

impl<F: PartialEq + Copy + ValueEnum> Clear<'_, F> {
    /// What becomes of a field.
    ///
    /// # Errors
    /// It is to be cleared and set at once.
    pub(crate) fn or_set<T>(&self, field: F, value: Option<T>) -> Result<Patch<T>, Failure> {
        match (self.fields.contains(&field), value) {
            (true, Some(_)) => {
                let name = field.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
                Err(Failure::Usage(format!("`{name}` is set and cleared at once")))
            }
            (true, None) => Ok(Patch::Clear),
            (false, value) => Ok(value.into()),
        }
    }
}

/// An update that names nothing.
pub(crate) fn nothing_to_change() -> Failure {
    Failure::Usage("nothing to change: name at least one value (see --help)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, ValueEnum)]
    enum Field {
        One,
        Two,
    }

    #[test]
    fn a_field_is_kept_set_or_cleared_but_not_both() {
        let clear = Clear { fields: &[Field::Two] };
        assert_eq!(clear.or_set(Field::One, Some(1)).unwrap(), Patch::Set(1));
        assert_eq!(clear.or_set(Field::One, None::<u8>).unwrap(), Patch::Keep);
        assert_eq!(clear.or_set(Field::Two, None::<u8>).unwrap(), Patch::Clear);
        let error = clear.or_set(Field::Two, Some(1)).unwrap_err();
        assert_eq!(error.to_string(), "`two` is set and cleared at once");
    }
}
