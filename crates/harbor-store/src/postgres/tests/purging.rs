//! The end of a tenant: nothing of it is left in any table.

use harbor_model::decide::retry::Next;
use harbor_model::delivery::Cause;
use harbor_model::id::TenantId;
use harbor_model::job::{Job, JobStatus, Task};
use harbor_model::policy::order::OnDead;
use harbor_model::port::deliveries::AttemptResult;
use harbor_model::port::jobs::{JobSteps, Stepped};
use harbor_model::port::registry::Tenants;
use tokio_postgres::Client;

use crate::conformance::World;
use crate::conformance::world::done;
use crate::postgres::PostgresStore;
use crate::postgres::jobs::purged_tables;
use crate::postgres::tests::fresh::{connect, world_at};
use crate::postgres::uuid::Uuid;

/// Tables with a column of this name, but for parts of others.
async fn tables_with(tables: &Client, column: &str) -> Vec<String> {
    let sql = "SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'harborhook'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND a.attname = $1 AND NOT a.attisdropped
        ORDER BY c.relname";
    tables.query(sql, &[&column]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn deleted(world: &World<PostgresStore>, tenant: &TenantId) -> Job {
    let job = world.new_job(tenant, Task::Purge);
    done(world.store.delete_tenant(tenant, job).await.unwrap())
}

/// Makes steps until one changes nothing more; answers the job.
async fn purged(world: &World<PostgresStore>, mut job: Job) -> Job {
    loop {
        match world.store.purge_batch(&job, 7, world.now()).await.unwrap() {
            Stepped::Made { job: next, is_end: true, .. } => return next,
            Stepped::Made { job: next, count: 0, .. } => return next,
            Stepped::Made { job: next, .. } => job = next,
            Stepped::Stale => panic!("nobody else makes a step"),
        }
    }
}

#[tokio::test]
async fn a_purge_goes_through_every_table_with_rows_of_tenants() {
    let Some((_world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let mut known = purged_tables();
    // It has nothing but ids, and only while a week is replaced.
    known.push("week_changes");
    known.sort_unstable();
    assert_eq!(tables_with(&tables, "tenant").await, known);
}

#[tokio::test]
async fn no_table_holds_anything_of_a_purged_tenant() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let (gone, kept) = (world.tenant("gone").await, world.tenant("kept").await);
    for tenant in [&gone, &kept] {
        let endpoint = world.endpoint(tenant).await;
        for number in 0..20 {
            let payload = format!("{{\"of\":\"{tenant}\"}}");
            let draft = world.event(tenant, &[&endpoint]).payload(payload.as_bytes());
            world.stored(draft.key(&format!("key-{number}"), 1)).await;
        }
        let source = world.source(tenant).await;
        world.refuse(&source, 9).await;
        world.delivered(&endpoint).await;
        world.dead(&endpoint).await;
        world.owed_in(&endpoint, "a").await;
        let other = world.endpoint(tenant).await;
        world.owed_in(&other, "held").await;
        let lease = world.lease_one(&other).await;
        let result = world.result(lease, 500, Next::Dead(Cause::ClientError));
        world.record(AttemptResult { on_dead: OnDead::Hold, ..result }).await;
    }
    let numbers = "SELECT number FROM tenants ORDER BY id";
    let numbers: Vec<i64> = tables.query(numbers, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let job = deleted(&world, &gone).await;
    let job = purged(&world, job).await;
    assert_eq!(job.status, JobStatus::Done);
    assert_eq!((job.removed["events"], job.removed["deliveries"]), (24, 24), "{:?}", job.removed);

    assert_eq!((job.removed["sources"], job.removed["rejections"]), (1, 9), "{:?}", job.removed);

    for table in tables_with(&tables, "tenant").await {
        let sql = format!("SELECT count(*) FILTER (WHERE tenant = $1), count(*) FROM {table} WHERE id <> $2");
        let of_gone = if table == "jobs" {
            tables.query_one(&sql, &[&numbers[0], &Uuid(job.id.number())]).await
        } else {
            let sql = sql.replace(" WHERE id <> $2", "");
            tables.query_one(&sql, &[&numbers[0]]).await
        };
        assert_eq!(of_gone.unwrap().get::<_, i64>(0), 0, "{table}");
    }
    let hex: String = "{\"of\":\"gone\"}".bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex_kept = hex.replace("676f6e65", "6b657074");
    let payloads = "SELECT count(*) FROM events AS e WHERE position($1 IN e::text) > 0";
    let found = async |hex: &str| tables.query_one(payloads, &[&hex]).await.unwrap().get::<_, i64>(0);
    assert_eq!((found(&hex).await, found(&hex_kept).await), (0, 20));
}

#[tokio::test]
async fn a_purge_ends_after_all_that_began_before_it() {
    let Some((world, url)) = world_at().await else { return };
    let (tables, late) = (connect(&url).await, connect(&url).await);
    let tenant = world.tenant("acme").await;
    world.delivered(&world.endpoint(&tenant).await).await;
    // A process that has looked the tenant up, and writes something of it after the purge has passed.
    late.batch_execute("BEGIN; SELECT number FROM tenants").await.unwrap();
    let job = deleted(&world, &tenant).await;
    let job = purged(&world, job).await;
    assert_eq!(job.status, JobStatus::Pending, "it waits");
    late.batch_execute(
        "INSERT INTO breakers SELECT number, gen_random_uuid(), 1, 0, 0, 0, 0 FROM tenants; COMMIT",
    )
    .await
    .unwrap();
    let job = purged(&world, job).await;
    assert_eq!(job.status, JobStatus::Done);
    assert_eq!(job.removed["breakers"], 1);
    let left = "SELECT (SELECT count(*) FROM breakers) + (SELECT count(*) FROM tenants)";
    assert_eq!(tables.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_purge_waits_for_the_copy_of_a_week() {
    let Some((world, url)) = world_at().await else { return };
    let tables = connect(&url).await;
    let tenant = world.tenant("acme").await;
    world.delivered(&world.endpoint(&tenant).await).await;
    tables.batch_execute("CREATE TABLE events_20270104_kept (LIKE events)").await.unwrap();
    let job = deleted(&world, &tenant).await;
    let job = purged(&world, job).await;
    assert_eq!(job.status, JobStatus::Pending);
    tables.batch_execute("DROP TABLE events_20270104_kept").await.unwrap();
    assert_eq!(purged(&world, job).await.status, JobStatus::Done);
}
