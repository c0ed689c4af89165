//! Progress of long work, on stderr and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;
use crate::wait::job::Progress;

/// How much of a known whole is done.
const BAR: &str = "{bar:32} {pos}/{len} {msg} [{elapsed}]";

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
    ProgressBar::new(total).with_style(bar_style())
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(BAR).expect("the template is a constant, a test reads it")
}

/// Shows how far work has come, of which it is not known at first how much there is.
pub(crate) struct Gauge {
    bar: ProgressBar,
    knows_total: bool,
}

impl Gauge {
    /// Shows that something is waited for.
    pub(crate) fn new(output: &Output) -> Self {
        Self { bar: spinner(output, "waiting"), knows_total: false }
    }

    /// Shows how far it has come.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if let Some(total) = progress.total {
            if !self.knows_total {
                self.bar.set_style(bar_style());
                self.knows_total = true;
            }
            self.bar.set_length(total);
            self.bar.set_position(progress.done);
        }
        self.bar.set_message(progress.text.clone());
    }

    /// Leaves nothing of it on the terminal.
    pub(crate) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template(BAR).unwrap();
    }
}
