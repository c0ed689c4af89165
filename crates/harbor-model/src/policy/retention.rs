//! How long what happened is kept.

use std::time::Duration;

use crate::policy::Sourced;

/// What one layer sets of the retention. A field that is `None` is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLayer {
    /// See [`Retention::history`].
    pub history: Option<Duration>,
    /// See [`Retention::dead_letters`].
    pub dead_letters: Option<Duration>,
}

/// The retention in force for one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long events, deliveries and attempts are kept, from the publish on.
    pub history: Sourced<Duration>,
    /// How long a dead letter is kept with its event, from its death on.
    pub dead_letters: Sourced<Duration>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long history is kept where no layer says so: 30 days.
pub const HISTORY_DEFAULT: Duration = DAY.saturating_mul(30);

/// How long dead letters are kept where no layer says so: 90 days.
pub const DEAD_LETTERS_DEFAULT: Duration = DAY.saturating_mul(90);

impl Retention {
    /// Takes each part from the nearest layer that sets it.
    pub fn resolve(instance: &RetentionLayer, tenant: &RetentionLayer) -> Self {
        Self {
            history: Sourced::of_tenant(tenant.history, instance.history, HISTORY_DEFAULT),
            dead_letters: Sourced::of_tenant(
                tenant.dead_letters,
                instance.dead_letters,
                DEAD_LETTERS_DEFAULT,
            ),
        }
    }
}
