use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::*;
use crate::verdict::{Verdict, Verdicts};

fn request(body: Bytes) -> Request {
    Request {
        received_at: Timestamp::UNIX_EPOCH,
        method: Method::POST,
        path: "/".to_owned(),
        headers: HeaderMap::new(),
        body,
        signatures: Verdicts { standard: Verdict::Unchecked, harborhook: Verdict::Unchecked },
        status: None,
    }
}

fn bodies(journal: &Journal) -> Vec<Bytes> {
    journal.requests().iter().map(|request| request.body.clone()).collect()
}

#[test]
fn keeps_the_last_and_counts_all() {
    let check = |keep, expected: &[&'static str]| {
        let journal = Journal::new(keep);
        for body in ["a", "b", "c"] {
            journal.record(request(body.into()));
        }
        assert_eq!(bodies(&journal), expected, "keeping {keep}");
        assert_eq!(journal.total(), 3);
    };
    check(0, &[]);
    check(1, &["c"]);
    check(2, &["b", "c"]);
    check(3, &["a", "b", "c"]);
    check(4, &["a", "b", "c"]);
}

#[test]
fn drops_the_oldest_when_the_bodies_grow_too_large() {
    // Three of them would be over the limit; they share one allocation.
    let large = Bytes::from(vec![0; KEPT_BODY_BYTES_MAX / 2]);
    let journal = Journal::new(1000);
    journal.record(request("first".into()));
    journal.record(request(large.clone()));
    assert_eq!(journal.requests().len(), 2);

    journal.record(request(large.clone()));
    assert_eq!(bodies(&journal), [large.clone(), large]);
}

#[test]
fn forgets_everything_when_cleared() {
    let journal = Journal::new(10);
    journal.record(request("a".into()));
    journal.clear();
    assert_eq!(journal.total(), 0);
    assert!(journal.requests().is_empty());

    journal.record(request("b".into()));
    assert_eq!(bodies(&journal), ["b"]);
    assert_eq!(journal.lock().body_bytes, 1);
}
