//! Sources as people set them up, and what is kept of the requests that they refused.

use std::sync::Arc;

use harbor_model::id::{SourceId, TenantId};
use harbor_model::job::Task;
use harbor_model::port::registry::Change;
use harbor_model::port::sources::Refused;
use harbor_model::source::{
    Provider, REJECTIONS_KEPT, Rejected, Source, SourceName, SourceOptions, SourceResponse,
};

use crate::conformance::world::{ALL, SECOND, Store, World, done, walk};

/// The source as it is stored.
async fn stored<S: Store>(world: &World<S>, source: &Source) -> Option<Source> {
    world.store.find_source(&source.tenant_id, source.id).await.unwrap()
}

/// How many requests the source refused, as far as it was counted.
async fn count<S: Store>(world: &World<S>, source: &Source) -> u64 {
    stored(world, source).await.unwrap().rejected_count
}

/// What is kept of the requests that the source refused, newest first.
async fn kept<S: Store>(world: &World<S>, source: &Source) -> Vec<Rejected> {
    world.store.rejections(&source.tenant_id, source.id, ALL).await.unwrap().items
}

async fn deleted<S: Store>(world: &World<S>, source: &Source, version: Option<u64>) -> Change<()> {
    world.store.delete_source(&source.tenant_id, source.id, version).await.unwrap()
}

async fn note<S: Store>(world: &World<S>, source: &Source, count: u64, newest: Vec<Rejected>) {
    world.store.note_rejections(vec![refused(source, count, newest)]).await.unwrap();
}

fn refused(source: &Source, count: u64, newest: Vec<Rejected>) -> Refused {
    Refused { tenant_id: source.tenant_id.clone(), source_id: source.id, count, newest }
}

/// The newest that are kept of those that were refused in this order, newest first.
fn newest(refused: &[Rejected]) -> Vec<Rejected> {
    refused.iter().rev().take(REJECTIONS_KEPT).cloned().collect()
}

/// A source of which nothing is set that need not be.
fn bare(source: Source) -> Source {
    Source {
        provider: Provider::None,
        options: SourceOptions::default(),
        secrets: vec![],
        endpoint_id: None,
        rate_limit: None,
        allowed_ips: Arc::default(),
        response: None,
        ..source
    }
}

pub async fn a_source_survives_with_its_secrets<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let source = world.new_source(&tenant);
    let made = world.store.create_source(source.clone(), 100).await.unwrap();
    assert_eq!(made, Change::Done(source.clone()));
    assert_eq!(stored(world, &source).await, Some(source.clone()));
    assert_eq!(world.store.create_source(source.clone(), 100).await.unwrap(), Change::Exists);

    world.clock.advance(SECOND);
    let mut changed = source.clone();
    changed.name = SourceName::new("another").unwrap();
    changed.secrets.truncate(1);
    changed.options.verify_token = None;
    changed.options.timestamp_tolerance = None;
    changed.response = Some(SourceResponse { status: 200, body: String::new(), content_type: None });
    changed.updated_at = world.now();
    let expected = Source { version: 2, ..changed.clone() };
    assert_eq!(world.store.update_source(changed).await.unwrap(), Change::Done(expected.clone()));
    assert_eq!(stored(world, &source).await, Some(expected));
}

pub async fn a_source_without_anything_optional_can_be_read<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let source = bare(world.new_source(&tenant));
    done(world.store.create_source(source.clone(), 100).await.unwrap());
    assert_eq!(stored(world, &source).await, Some(source.clone()));

    // What was set can be taken away, and set again.
    let full = Source { id: source.id, ..world.new_source(&tenant) };
    let full = done(world.store.update_source(full).await.unwrap());
    assert_eq!(stored(world, &source).await, Some(full.clone()));
    let bare = done(world.store.update_source(bare(full)).await.unwrap());
    assert_eq!(stored(world, &source).await, Some(bare));
}

pub async fn sources_are_listed_newest_first_and_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        world.clock.advance(SECOND);
        expected.insert(0, world.source(&tenant).await);
    }
    let list = async |ask| world.store.sources(&tenant, ask).await.unwrap();
    let (found, page_count) = walk(2, list).await;
    assert_eq!(found, expected);
    assert_eq!(page_count, 3);
    assert_eq!(world.store.sources(&tenant, ALL).await.unwrap().items, expected);
    assert_eq!(world.store.sources(&"nobody".parse().unwrap(), ALL).await.unwrap().items, []);
}

pub async fn a_change_of_an_old_version_of_a_source_conflicts<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let source = world.source(&tenant).await;
    let second = done(world.store.update_source(source.clone()).await.unwrap());
    assert_eq!(second.version, 2);
    assert_eq!(world.store.update_source(source.clone()).await.unwrap(), Change::Conflict);
    assert_eq!(deleted(world, &source, Some(1)).await, Change::Conflict);
    assert_eq!(stored(world, &source).await, Some(second.clone()));

    let unknown = world.new_source(&tenant);
    assert_eq!(world.store.update_source(unknown.clone()).await.unwrap(), Change::Missing);
    assert_eq!(deleted(world, &unknown, None).await, Change::Missing);
    assert_eq!(deleted(world, &source, Some(2)).await, Change::Done(()));
    assert_eq!(world.store.update_source(second).await.unwrap(), Change::Missing);
}

pub async fn there_are_no_more_sources_than_may_be<S: Store>(world: &World<S>) {
    let (tenant, other) = (world.tenant("acme").await, world.tenant("zebra").await);
    let create =
        async |tenant: &TenantId| world.store.create_source(world.new_source(tenant), 2).await.unwrap();
    let first = done(create(&tenant).await);
    done(create(&tenant).await);
    assert_eq!(create(&tenant).await, Change::TooMany);
    done(create(&other).await);
    done(deleted(world, &first, None).await);
    done(create(&tenant).await);
    assert_eq!(create(&tenant).await, Change::TooMany);
    assert_eq!(create(&"nobody".parse().unwrap()).await, Change::Missing);
}

pub async fn every_change_of_a_source_is_in_the_directory_at_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let mut version = world.store.tenant(&tenant).await.unwrap().unwrap().version;
    let mut check = async |expected: &[&Source], what: &str| {
        let found = world.store.tenant(&tenant).await.unwrap().unwrap();
        assert!(found.version > version, "{what}");
        version = found.version;
        assert_eq!(found.sources.len(), expected.len(), "{what}");
        for source in expected {
            assert_eq!(found.sources[&source.id].as_ref(), *source, "{what}");
        }
    };
    let one = world.source(&tenant).await;
    check(&[&one], "create one").await;
    let two = world.source(&tenant).await;
    check(&[&one, &two], "create another").await;
    let one = done(world.store.update_source(bare(one)).await.unwrap());
    check(&[&one, &two], "change one").await;
    done(deleted(world, &one, None).await);
    check(&[&two], "delete one").await;
}

pub async fn an_owner_is_found_by_the_id_of_its_source_alone<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let (one, other) = (world.source(&acme).await, world.source(&zebra).await);
    let owner = async |id| world.store.owner_of_source(id).await.unwrap();
    assert_eq!(owner(one.id).await, Some(acme.clone()));
    assert_eq!(owner(other.id).await, Some(zebra.clone()));
    for unknown in [0, one.id.number() ^ 1, u128::MAX] {
        assert_eq!(owner(SourceId::from_number(unknown)).await, None);
    }
    done(deleted(world, &one, None).await);
    assert_eq!(owner(one.id).await, None);
    assert_eq!(owner(other.id).await, Some(zebra));
}

pub async fn a_source_of_a_deleted_tenant_has_no_owner<S: Store>(world: &World<S>) {
    let (acme, zebra) = (world.tenant("acme").await, world.tenant("zebra").await);
    let (one, other) = (world.source(&acme).await, world.source(&zebra).await);
    done(world.store.delete_tenant(&acme, world.new_job(&acme, Task::Purge)).await.unwrap());
    assert_eq!(world.store.owner_of_source(one.id).await.unwrap(), None);
    assert_eq!(stored(world, &one).await, None);
    assert_eq!(world.store.owner_of_source(other.id).await.unwrap(), Some(zebra));
}

pub async fn a_refused_request_can_be_read_as_it_was<S: Store>(world: &World<S>) {
    let source = world.source(&world.tenant("acme").await).await;
    let full = world.rejected(&source);
    let bare = Rejected {
        message: String::new(),
        header: None,
        signed_text: None,
        timestamp_age_s: None,
        remote_address: "192.0.2.1".parse().unwrap(),
        body_bytes: 0,
        ..world.rejected(&source)
    };
    let unsigned = Rejected { signed_text: Some(vec![]), ..world.rejected(&source) };
    let expected = [full, bare, unsigned];
    note(world, &source, 3, expected.to_vec()).await;
    assert_eq!(kept(world, &source).await, newest(&expected));
}

pub async fn refused_requests_are_counted_and_the_newest_of_each_source_kept<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (one, other) = (world.source(&tenant).await, world.source(&tenant).await);
    assert_eq!((count(world, &one).await, kept(world, &one).await), (0, vec![]));

    let mut of_one = world.refuse(&one, REJECTIONS_KEPT - 1).await;
    let of_other = world.refuse(&other, 3).await;
    assert_eq!((count(world, &one).await, kept(world, &one).await), (19, newest(&of_one)));
    of_one.extend(world.refuse(&one, 1).await);
    assert_eq!(kept(world, &one).await.len(), REJECTIONS_KEPT);
    of_one.extend(world.refuse(&one, 7).await);
    assert_eq!((count(world, &one).await, kept(world, &one).await), (27, newest(&of_one)));

    // More than are kept at once; more than are told of; and both, in one call.
    of_one.extend(world.refuse(&one, REJECTIONS_KEPT + 5).await);
    note(world, &one, 1_000_000, vec![]).await;
    let last = [world.rejected(&one), world.rejected(&other), world.rejected(&one)];
    let told = vec![
        refused(&one, 10, vec![last[0].clone()]),
        refused(&other, 1, vec![last[1].clone()]),
        refused(&one, 10, vec![last[2].clone()]),
    ];
    world.store.note_rejections(told).await.unwrap();
    of_one.extend([last[0].clone(), last[2].clone()]);
    assert_eq!((count(world, &one).await, kept(world, &one).await), (1_000_072, newest(&of_one)));
    let of_other = [of_other, vec![last[1].clone()]].concat();
    assert_eq!((count(world, &other).await, kept(world, &other).await), (4, newest(&of_other)));
}

pub async fn what_was_refused_earlier_but_is_noted_later_takes_no_newer_ones_place<S: Store>(
    world: &World<S>,
) {
    let source = world.source(&world.tenant("acme").await).await;
    let early: Vec<_> = (0..5).map(|_| world.rejected(&source)).collect();
    let late = world.refuse(&source, REJECTIONS_KEPT - 2).await;
    note(world, &source, 5, early.clone()).await;
    assert_eq!(kept(world, &source).await, newest(&[early, late].concat()));
    assert_eq!(count(world, &source).await, 23);
}

pub async fn refused_requests_are_listed_newest_first_and_each_once<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let source = world.source(&tenant).await;
    let refused = world.refuse(&source, 11).await;
    let list = async |ask| world.store.rejections(&tenant, source.id, ask).await.unwrap();
    let (found, page_count) = walk(4, list).await;
    assert_eq!(found, newest(&refused));
    assert_eq!(page_count, 3);
    let unknown = SourceId::from_number(1);
    assert_eq!(world.store.rejections(&tenant, unknown, ALL).await.unwrap().items, []);
    let nobody = "nobody".parse().unwrap();
    assert_eq!(world.store.rejections(&nobody, source.id, ALL).await.unwrap().items, []);
}

pub async fn what_a_source_refused_that_has_gone_counts_for_nothing<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (gone, there) = (world.source(&tenant).await, world.source(&tenant).await);
    let of_deleted = world.source(&world.tenant("zebra").await).await;
    done(deleted(world, &gone, None).await);
    let purge = world.new_job(&of_deleted.tenant_id, Task::Purge);
    done(world.store.delete_tenant(&of_deleted.tenant_id, purge).await.unwrap());
    let nobody = Source { tenant_id: "nobody".parse().unwrap(), ..world.new_source(&tenant) };

    let told = [&gone, &of_deleted, &nobody, &there].map(|one| refused(one, 1, vec![world.rejected(one)]));
    world.store.note_rejections(told.into()).await.unwrap();
    assert_eq!(kept(world, &gone).await, []);
    assert_eq!(count(world, &there).await, 1, "the others are counted");
    // Nor is it found where the source is made again.
    done(world.store.create_source(gone.clone(), 100).await.unwrap());
    assert_eq!((count(world, &gone).await, kept(world, &gone).await), (0, vec![]));
}

pub async fn a_deleted_source_is_gone_with_what_it_refused<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let (gone, other) = (world.source(&tenant).await, world.source(&tenant).await);
    world.refuse(&gone, 3).await;
    let of_other = world.refuse(&other, 3).await;
    done(deleted(world, &gone, Some(1)).await);

    assert_eq!(stored(world, &gone).await, None);
    assert_eq!(kept(world, &gone).await, []);
    assert_eq!(deleted(world, &gone, None).await, Change::Missing);
    let listed = world.store.sources(&tenant, ALL).await.unwrap().items;
    assert_eq!(listed, [Source { rejected_count: 3, ..other.clone() }]);
    assert_eq!(kept(world, &other).await, newest(&of_other));
    done(world.store.create_source(gone.clone(), 100).await.unwrap());
    assert_eq!((count(world, &gone).await, kept(world, &gone).await), (0, vec![]));
}

pub async fn the_count_of_a_source_is_left_alone_by_its_changes<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let claimed = Source { rejected_count: 9, ..world.new_source(&tenant) };
    let source = done(world.store.create_source(claimed, 100).await.unwrap());
    assert_eq!((source.rejected_count, count(world, &source).await), (0, 0));

    let refused = world.refuse(&source, 3).await;
    let changed = done(world.store.update_source(source).await.unwrap());
    assert_eq!((changed.rejected_count, count(world, &changed).await), (3, 3));
    assert_eq!(kept(world, &changed).await, newest(&refused));
}

pub async fn what_a_source_refuses_changes_neither_its_version_nor_the_directory<S: Store>(world: &World<S>) {
    let tenant = world.tenant("acme").await;
    let source = world.source(&tenant).await;
    let version = async || world.store.tenant(&tenant).await.unwrap().unwrap().version;
    let before = version().await;
    world.refuse(&source, 2).await;
    assert_eq!(version().await, before);
    assert_eq!(stored(world, &source).await, Some(Source { rejected_count: 2, ..source.clone() }));
    done(world.store.update_source(source).await.unwrap());
}
