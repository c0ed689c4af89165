//! What becomes of events, told on a `World`: real store, publisher and worker, time by hand.
#![expect(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod flow {
    mod breaker;
    mod dead_letters;
    mod drains;
    mod endings;
    mod fleet;
    mod holds;
    mod incarnations;
    mod interventions;
    mod jobs;
    mod notices;
    mod ordering;
    mod publish;
    mod quotas;
    mod requests;
    mod retention;
    mod retries;
    mod shares;
    mod sources;
    mod trouble;
}
