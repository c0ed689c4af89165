use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use harbor_model::id::RejectionId;

use super::*;

/// A store that remembers what it was told, and can be taken away.
#[derive(Default)]
struct Store {
    is_away: AtomicBool,
    told: Mutex<Vec<Refused>>,
}

#[async_trait]
impl Rejections for Store {
    async fn note_rejections(&self, refused: Vec<Refused>) -> Result<(), Fault> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Fault::bare("the store is away"));
        }
        self.told.lock().unwrap().extend(refused);
        Ok(())
    }

    async fn rejections(&self, _: &TenantId, _: SourceId, _: PageAsk) -> Result<Page<Rejected>, Fault> {
        Ok(Page { items: Vec::new(), next: None })
    }
}

impl Store {
    /// Source, count, and how many are kept, of each that was told of.
    fn told(&self) -> Vec<(u128, u64, usize)> {
        let mut told = self.told.lock().unwrap();
        let shown = |refused: Refused| (refused.source_id.number(), refused.count, refused.newest.len());
        std::mem::take(&mut *told).into_iter().map(shown).collect()
    }
}

fn log() -> (Arc<Store>, RejectionLog) {
    let store = Arc::new(Store::default());
    (store.clone(), RejectionLog::new(store))
}

fn rejected(source: u128, number: u128) -> Rejected {
    Rejected {
        id: RejectionId::from_number(number),
        tenant_id: "shop".parse().unwrap(),
        source_id: SourceId::from_number(source),
        code: "signature_mismatch".to_owned(),
        message: "no signature matches".to_owned(),
        header: None,
        signed_text: None,
        timestamp_age_s: None,
        method: "POST".to_owned(),
        remote_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        body_bytes: 2,
    }
}

#[tokio::test]
async fn however_many_are_refused_the_newest_are_written_once() {
    let (store, log) = log();
    (0..50).for_each(|number| log.note(rejected(1, number)));
    log.note(rejected(2, 50));
    log.settle().await.unwrap();
    let newest = store.told.lock().unwrap()[0].newest.clone();
    let numbers: Vec<_> = newest.iter().map(|rejected| rejected.id.number()).collect();
    assert_eq!(numbers, (30..50).collect::<Vec<_>>());
    assert_eq!(store.told(), [(1, 50, 20), (2, 1, 1)]);

    log.settle().await.unwrap();
    assert_eq!(store.told(), [], "nothing is told twice");
}

#[tokio::test]
async fn what_cannot_be_written_waits_before_what_comes_after_it() {
    let (store, log) = log();
    store.is_away.store(true, Ordering::Relaxed);
    (0..15).for_each(|number| log.note(rejected(1, number)));
    log.settle().await.unwrap_err();
    (15..30).for_each(|number| log.note(rejected(1, number)));
    log.note(rejected(2, 30));
    log.settle().await.unwrap_err();

    store.is_away.store(false, Ordering::Relaxed);
    log.settle().await.unwrap();
    let newest = store.told.lock().unwrap()[0].newest.clone();
    assert_eq!((newest[0].id.number(), newest[19].id.number()), (10, 29));
    assert_eq!(store.told(), [(1, 30, 20), (2, 1, 1)]);
}

#[tokio::test]
async fn many_sources_cannot_fill_the_memory() {
    let (store, log) = log();
    let sources = u128::try_from(SOURCES_MAX).unwrap() + 10;
    for source in 0..sources {
        (0..3).for_each(|number| log.note(rejected(source, number)));
    }
    log.settle().await.unwrap();
    let told = store.told();
    assert_eq!(told.len(), SOURCES_MAX);
    assert!(told.iter().all(|(_, count, _)| *count == 3), "all are counted");
    assert_eq!(told.iter().map(|(_, _, kept)| kept).sum::<usize>(), WAITING_MAX);
}

#[tokio::test]
async fn who_reads_sees_what_was_noted_before() {
    let (store, log) = log();
    log.note(rejected(1, 1));
    let page = PageAsk { limit: 1, after: None };
    log.of_source(&"shop".parse().unwrap(), SourceId::from_number(1), page).await.unwrap();
    assert_eq!(store.told(), [(1, 1, 1)]);
}
