//! Rotation of secrets: the new one holds at once, the old one for a while longer.

use std::time::Duration;

use harbor_model::secret::{Secret, TimedSecret};
use harbor_model::text::print_duration;
use harbor_model::time::Timestamp;

use crate::convert::checks::Checks;
use crate::convert::policy::read_duration;
use crate::settings::Settings;

/// A rotation that somebody asks for.
pub(crate) struct Rotation {
    pub(crate) secret: Secret,
    pub(crate) now: Timestamp,
    /// When the old secret ends.
    pub(crate) old_ends_at: Timestamp,
    /// The most secrets at a time.
    pub(crate) secrets_max: usize,
}

/// Reads how long the old secret is to hold.
pub(crate) fn read_overlap(overlap: Option<&str>, settings: &Settings, checks: &mut Checks) -> Duration {
    let overlap = read_duration("overlap", overlap, checks).unwrap_or(settings.secret_overlap_default);
    if overlap > settings.secret_overlap_max {
        let max = print_duration(settings.secret_overlap_max);
        checks.refuse("overlap", format!("must be at most {max}"));
    }
    overlap
}

impl Rotation {
    /// The secrets after it, newest first: the new one, and those that hold for a while.
    pub(crate) fn of(&self, former: &[TimedSecret]) -> Vec<TimedSecret> {
        let Self { secret, now, old_ends_at, secrets_max } = self;
        let older = former.iter().filter(|old| old.secret != *secret).map(|old| TimedSecret {
            secret: old.secret.clone(),
            // A later rotation can end a secret sooner, never keep it longer.
            expires_at: Some(old.expires_at.map_or(*old_ends_at, |end| end.min(*old_ends_at))),
        });
        let older = older.filter(|old| old.is_valid_at(*now));
        std::iter::once(TimedSecret::lasting(secret.clone())).chain(older).take(*secrets_max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    #[test]
    fn the_old_secret_holds_until_its_overlap_ends() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let old = |text: &str, ends: Option<u64>| TimedSecret {
            secret: secret(text),
            expires_at: ends.map(|secs| NOW + Duration::from_secs(secs)),
        };
        let check = |former: &[TimedSecret], overlap: u64, expected: &[TimedSecret]| {
            let old_ends_at = NOW + Duration::from_secs(overlap);
            let rotation = Rotation { secret: secret("new"), now: NOW, old_ends_at, secrets_max: 3 };
            assert_eq!(rotation.of(former), expected);
        };
        check(&[old("a", None)], 60, &[old("new", None), old("a", Some(60))]);
        check(&[old("a", None)], 0, &[old("new", None)]);
        check(
            &[old("a", None), old("b", Some(30)), old("c", Some(0))],
            60,
            &[old("new", None), old("a", Some(60)), old("b", Some(30))],
        );
        check(
            &[old("a", None), old("b", Some(90))],
            60,
            &[old("new", None), old("a", Some(60)), old("b", Some(60))],
        );
        check(
            &[old("a", None), old("b", Some(30)), old("c", Some(20))],
            60,
            &[old("new", None), old("a", Some(60)), old("b", Some(30))],
        );
        check(&[old("new", None), old("a", Some(30))], 60, &[old("new", None), old("a", Some(30))]);
    }
}
