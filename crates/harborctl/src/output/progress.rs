//! Progress of long work, on stderr and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Shows that something is waited for.
pub(crate) fn spinner(output: &Output, message: &str) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(message.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Shows how much of `total` is done.
pub(crate) fn bar(output: &Output, total: u64) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} [{elapsed}]")
        .expect("the template is a constant, a test reads it");
    ProgressBar::new(total).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} [{elapsed}]").unwrap();
    }
}
