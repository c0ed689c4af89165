//! What becomes of events, told on a `World`: real store, publisher and worker, time by hand.
#![expect(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod flow {
    mod breaker;
    mod dead_letters;
    mod fleet;
    mod holds;
    mod incarnations;
    mod publish;
    mod requests;
    mod retries;
    mod shares;
    mod trouble;
}
