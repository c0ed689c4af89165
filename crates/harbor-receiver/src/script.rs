//! Which answer comes next.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::answer::Answer;
use crate::request::Request;

/// The progress of so many webhook ids is remembered; the oldest are forgotten and would begin again.
const WEBHOOK_IDS_MAX: usize = 100_000;

/// Chooses the answer to each request.
pub struct Script(Box<dyn Fn(&Request) -> Answer + Send + Sync>);

impl Script {
    /// Answers every request alike.
    pub fn always(answer: impl Into<Answer>) -> Script {
        let answer = answer.into();
        Script::by(move |_| answer.clone())
    }

    /// Gives each webhook id its way through the list: the first answer to its first request, and so on.
    /// The last answer repeats.
    ///
    /// Requests without a `webhook-id` share one way.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn per_webhook<A: Into<Answer>>(answers: impl IntoIterator<Item = A>) -> Script {
        let answers: Vec<Answer> = answers.into_iter().map(Into::into).collect();
        assert!(!answers.is_empty(), "a script needs at least one answer");

        let progress = Mutex::new(Progress::default());
        Script::by(move |request| {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            let step = progress.step(request.webhook_id().unwrap_or_default());
            answers[step.min(answers.len() - 1)].clone()
        })
    }

    /// Answers as the function says.
    /// It runs before the request is kept, and must not block.
    pub fn by(choose: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Script {
        Script(Box::new(choose))
    }

    pub(crate) fn choose(&self, request: &Request) -> Answer {
        (self.0)(request)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(..)")
    }
}

/// Counts the requests of each webhook id.
#[derive(Default)]
struct Progress {
    taken: HashMap<String, usize>,
    oldest_first: VecDeque<String>,
}

impl Progress {
    /// How many requests of this id came before.
    fn step(&mut self, webhook_id: &str) -> usize {
        if let Some(taken) = self.taken.get_mut(webhook_id) {
            *taken += 1;
            return *taken;
        }
        if self.oldest_first.len() == WEBHOOK_IDS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.taken.remove(&oldest);
        }
        self.taken.insert(webhook_id.to_owned(), 0);
        self.oldest_first.push_back(webhook_id.to_owned());
        0
    }
}
