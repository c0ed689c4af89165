//! What this worker has told the store of each endpoint's health, so that it tells only what is news.
//!
//! An endpoint that fails now and then is none that fails: as long as a success is not far back, nothing is
//! told. What stays as it is is told again now and then, since other workers may have told otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use harbor_model::decide::classify::Verdict;
use harbor_model::port::deliveries::{EndpointKey, Health, HealthNews};
use harbor_model::time::Timestamp;

/// A failure so soon after a success is not worth telling.
const SUCCESS_COUNTS_FOR: Duration = Duration::from_secs(60);

/// What stays as it is is told again after so long.
pub(crate) const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The most endpoints of one generation. What is forgotten is told again.
const ENDPOINTS_MAX: usize = 100_000;

/// What was told of the endpoints that were used of late.
#[derive(Debug)]
pub(crate) struct HealthLog {
    /// An endpoint that has failed for so long is to be disabled; none for never.
    disable_after: Option<Duration>,
    told: Mutex<Generations>,
}

/// Who was not used for a whole generation is forgotten with it.
#[derive(Debug)]
struct Generations {
    young: HashMap<EndpointKey, Told>,
    old: HashMap<EndpointKey, Told>,
    turned_at: Timestamp,
}

/// What was told of one endpoint.
#[derive(Clone, Copy, Debug)]
struct Told {
    url_version: u64,
    last: Option<(Word, Timestamp)>,
    succeeded_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Failing,
    Working,
}

impl HealthLog {
    /// Nothing was told yet. Endpoints that fail for `disable_after` are to be disabled; zero for never.
    pub(crate) fn new(disable_after: Duration, now: Timestamp) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self {
            disable_after: Some(disable_after).filter(|time| !time.is_zero()),
            told: Mutex::new(Generations { young, old, turned_at: now }),
        }
    }

    /// Takes in what an attempt at the URL of this version came to; answers what the store is to be told.
    pub(crate) fn saw(
        &self,
        key: &EndpointKey,
        url_version: u64,
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<HealthNews> {
        let word = match verdict {
            Verdict::Gone => return Some(HealthNews { url_version, health: Health::Gone }),
            Verdict::Accepted => Word::Working,
            Verdict::Failed { .. } | Verdict::ClientError | Verdict::Redirected | Verdict::Blocked => {
                Word::Failing
            }
        };
        let mut told = self.told();
        let told = told.of(key, now);
        if told.url_version > url_version {
            return None;
        }
        if told.url_version < url_version {
            *told = Told::nothing(url_version);
        }
        told.is_news(word, now).then(|| HealthNews { url_version, health: self.health(word, now) })
    }

    /// Forgets what was told of an endpoint, since it was not recorded.
    pub(crate) fn forget(&self, key: &EndpointKey) {
        let mut told = self.told();
        told.young.remove(key);
        told.old.remove(key);
    }

    fn health(&self, word: Word, now: Timestamp) -> Health {
        match word {
            Word::Working => Health::Working,
            // Nothing has failed since before all time.
            Word::Failing => Health::Failing {
                disable_if_since: self.disable_after.map_or(Timestamp::from_unix_ms(0), |time| now - time),
            },
        }
    }

    fn told(&self) -> MutexGuard<'_, Generations> {
        self.told.lock().expect("nothing panics while it is held")
    }
}

impl Generations {
    fn of(&mut self, key: &EndpointKey, now: Timestamp) -> &mut Told {
        let is_over = now.since(self.turned_at) >= TOLD_AGAIN_AFTER;
        if is_over || self.young.len() >= ENDPOINTS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = now;
        }
        let old = &mut self.old;
        self.young.entry(key.clone()).or_insert_with(|| old.remove(key).unwrap_or(Told::nothing(0)))
    }
}

impl Told {
    fn nothing(url_version: u64) -> Self {
        Self { url_version, last: None, succeeded_at: None }
    }

    /// Whether a word is to be told; if so, it is from now on.
    fn is_news(&mut self, word: Word, now: Timestamp) -> bool {
        let is_told = self.last.is_some_and(|(last, at)| last == word && now.since(at) < TOLD_AGAIN_AFTER);
        let is_slip =
            word == Word::Failing && self.succeeded_at.is_some_and(|at| now.since(at) < SUCCESS_COUNTS_FOR);
        if word == Word::Working {
            self.succeeded_at = Some(now);
        }
        if is_told || is_slip {
            return false;
        }
        self.last = Some((word, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use harbor_model::id::EndpointId;

    use super::*;

    const T0: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const FAILED: Verdict = Verdict::Failed { wait_asked: None };

    fn key(number: u128) -> EndpointKey {
        EndpointKey { tenant_id: "t".parse().unwrap(), endpoint_id: EndpointId::from_number(number) }
    }

    /// What is told of attempts, each by the second in which it is made, its URL's version, and what came of it.
    fn told(attempts: &[(u64, u64, Verdict)]) -> Vec<(u64, &'static str)> {
        let log = HealthLog::new(5 * DAY, T0);
        let word = |(second, version, verdict): &(u64, u64, Verdict)| {
            let now = T0 + Duration::from_secs(*second);
            let news = log.saw(&key(1), *version, *verdict, now)?;
            assert_eq!(news.url_version, *version);
            Some(match news.health {
                Health::Gone => (*second, "gone"),
                Health::Working => (*second, "working"),
                Health::Failing { disable_if_since } => {
                    assert_eq!(disable_if_since, now - 5 * DAY);
                    (*second, "failing")
                }
            })
        };
        attempts.iter().filter_map(word).collect()
    }

    #[test]
    fn only_a_change_is_told() {
        use Verdict::{Accepted, Blocked, ClientError, Gone, Redirected};
        let check = |attempts: &[(u64, u64, Verdict)], expected: &[(u64, &str)]| {
            assert_eq!(told(attempts), expected, "{attempts:?}");
        };
        check(&[(0, 1, Accepted), (1, 1, Accepted), (3_599, 1, Accepted)], &[(0, "working")]);
        check(&[(0, 1, FAILED), (1, 1, FAILED), (3_599, 1, FAILED)], &[(0, "failing")]);
        for verdict in [ClientError, Redirected, Blocked] {
            check(&[(0, 1, verdict)], &[(0, "failing")]);
        }
        check(
            &[(0, 1, FAILED), (1, 1, Accepted), (100, 1, FAILED)],
            &[(0, "failing"), (1, "working"), (100, "failing")],
        );
        check(&[(0, 1, Gone), (1, 1, Gone)], &[(0, "gone"), (1, "gone")]);
    }

    #[test]
    fn one_that_fails_now_and_then_is_not_told_of() {
        let attempts: Vec<_> = (0..1_000)
            .map(|second| (second, 1, if second % 50 == 0 { Verdict::Accepted } else { FAILED }))
            .collect();
        assert_eq!(told(&attempts), [(0, "working")]);
        assert_eq!(
            told(&[(0, 1, Verdict::Accepted), (59, 1, FAILED), (60, 1, FAILED)]),
            [(0, "working"), (60, "failing")]
        );
    }

    #[test]
    fn what_stays_as_it_is_is_told_again_each_hour() {
        let each_minute = |verdict| (0..150).map(|minute| (60 * minute, 1, verdict)).collect::<Vec<_>>();
        assert_eq!(told(&each_minute(FAILED)), [(0, "failing"), (3_600, "failing"), (7_200, "failing")]);
        let working = told(&each_minute(Verdict::Accepted));
        assert_eq!(working, [(0, "working"), (3_600, "working"), (7_200, "working")]);
    }

    #[test]
    fn another_url_is_another_endpoint() {
        let attempts = [(0, 1, FAILED), (1, 2, FAILED), (2, 1, Verdict::Accepted), (3, 2, FAILED)];
        assert_eq!(told(&attempts), [(0, "failing"), (1, "failing")]);
        assert_eq!(told(&[(0, 1, Verdict::Accepted), (1, 2, FAILED)]), [(0, "working"), (1, "failing")]);
    }

    #[test]
    fn what_was_not_recorded_is_told_again() {
        let log = HealthLog::new(DAY, T0);
        let is_told = || log.saw(&key(1), 1, FAILED, T0).is_some();
        assert!(is_told() && !is_told());
        log.forget(&key(1));
        assert!(is_told());
    }

    #[test]
    fn where_none_is_to_be_disabled_nothing_is_old_enough() {
        let log = HealthLog::new(Duration::ZERO, T0);
        let health = log.saw(&key(1), 1, FAILED, T0).map(|news| news.health);
        assert_eq!(health, Some(Health::Failing { disable_if_since: Timestamp::from_unix_ms(0) }));
    }

    #[test]
    fn endpoints_that_are_not_used_are_forgotten() {
        let log = HealthLog::new(DAY, T0);
        let used = |log: &HealthLog| {
            let told = log.told();
            told.young.len() + told.old.len()
        };
        for number in 0..100 {
            log.saw(&key(number), 1, FAILED, T0);
        }
        log.saw(&key(0), 1, FAILED, T0 + TOLD_AGAIN_AFTER);
        assert_eq!(used(&log), 100);
        log.saw(&key(0), 1, FAILED, T0 + 2 * TOLD_AGAIN_AFTER);
        assert_eq!(used(&log), 1);
    }
}
