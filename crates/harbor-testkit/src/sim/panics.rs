//! Hears panics: the engine outlives those of its tasks, the simulation does not let them pass.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// What was said in this thread's panics; none where nobody listens.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Listens to the panics of this thread until it is dropped.
pub(crate) struct Listening(());

impl Listening {
    pub(crate) fn begin() -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let others = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let is_heard = HEARD.with_borrow_mut(|heard| {
                    heard.as_mut().map(|heard| heard.push(info.to_string())).is_some()
                });
                if !is_heard {
                    others(info);
                }
            }));
        });
        HEARD.set(Some(Vec::new()));
        Self(())
    }

    /// What was heard first since the last question.
    pub(crate) fn heard(&self) -> Option<String> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().and_then(|heard| heard.drain(..).next()))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}
