//! How PostgreSQL goes about each query on the way of an event and each list: by an index, never through a
//! whole table, with the plan that is used for whatever parameters, and whatever is stored.

use harbor_model::delivery::DeadLetterState;

use crate::postgres::database::Link;
use crate::postgres::history::{self, OF_ENDPOINT, OF_EVENT, Place, dead_sql, deliveries_sql};
use crate::postgres::registry::sources;
use crate::postgres::tests::fresh::{connect, world_at};
use crate::postgres::{
    api_keys, breakers, claims, deliveries, ending, finish, health, interventions, jobs, keyring, lanes,
    leases, notices, publish, quotas, registry, rejections, replay, sweep, upkeep, workers,
};

/// Fills the tables: 20 tenants with 5 endpoints each, `$ROWS` open deliveries and as many that are final,
/// over two weeks before the tests' clock.
fn fill(rows: u32) -> String {
    let of_each = rows / 20;
    format!(
        "CREATE FUNCTION id_at(ms bigint, n bigint) RETURNS uuid LANGUAGE sql AS $$
             SELECT (lpad(to_hex(ms), 12, '0') || lpad(to_hex(n), 20, '0'))::uuid $$;
         INSERT INTO tenants (id, name, policy, version, directory_version, endpoint_count, created_at, updated_at)
             SELECT 'tenant-' || t, 'x', '{{}}', 1, 1, 5, 0, 0 FROM generate_series(1, 20) AS t;
         INSERT INTO endpoints (tenant, id, paused, url, policy, metadata, version, url_version, created_at, updated_at)
             SELECT t, id_at(1799000000000, t * 10 + e), false, 'u', '{{}}', '{{}}', 1, 1, 0, 0
             FROM generate_series(1, 20) AS t, generate_series(1, 5) AS e;
         INSERT INTO events (tenant, id, event_type, fan_out_count, trace_id, span_id, trace_sampled, payload)
             SELECT t, id_at(1800000000000 - (n % 7) * 86400000::bigint + n, t), 'a', 1, '', '', false, 'x'
             FROM generate_series(1, 20) AS t, generate_series(1, {of_each}) AS n;
         INSERT INTO open_deliveries (
                 tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                 interrupted_count, due_at, updated_at, new_webhook_id)
             SELECT t, id_at(1800000000000 + n, t), id_at(1800000000000 + n / 2, t),
                 id_at(1799000000000, t * 10 + n % 5 + 1), 'a', 1, 'queued', 0, 0, 1800000000000 + n, 0, false
             FROM generate_series(1, 20) AS t, generate_series(1, {of_each}) AS n;
         INSERT INTO open_deliveries (
                 tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                 interrupted_count, due_at, updated_at, new_webhook_id, lane_key, lane_number)
             SELECT t, id_at(1800000000000 + n, 100 + t), id_at(1800000000000 + n / 2, t),
                 id_at(1799000000000, t * 10 + n % 5 + 1), 'a', 1, 'queued', 0, 0,
                 CASE n / 5 % 4 WHEN 0 THEN 1800000000000 + n END, 0, false, (n / 20)::text, n / 5 % 4 + 1
             FROM generate_series(1, 20) AS t, generate_series(1, {of_each} / 4) AS n;
         INSERT INTO lanes (tenant, endpoint_id, lane_key, id, last_number, head_id)
             SELECT tenant, endpoint_id, lane_key, id, 4, id FROM open_deliveries WHERE lane_number = 1;
         INSERT INTO leases (tenant, delivery_id, worker, number, is_started)
             SELECT tenant, id, id_at(1, 1), row_number() OVER (), false FROM open_deliveries
             WHERE id < id_at(1800000000000 + 100, 0);
         INSERT INTO deliveries_done (
                 tenant, id, event_id, endpoint_id, event_type, payload_bytes, status, attempt_count,
                 interrupted_count, updated_at, new_webhook_id, dlq_state)
             SELECT t, id_at(1800000000000 - (n % 7) * 86400000::bigint + n, t), id_at(1800000000000 + n / 2, t),
                 id_at(1799000000000, t * 10 + n % 5 + 1), 'a', 1, 'delivered', 1, 0, 0, false,
                 CASE n % 50 WHEN 0 THEN 'open' WHEN 1 THEN 'replayed' END
             FROM generate_series(1, 20) AS t, generate_series(1, {of_each}) AS n;
         INSERT INTO attempts (tenant, delivery_id, id, number, started_at, latency_us)
             SELECT tenant, id, id, 1, 0, 0 FROM deliveries_done;
         INSERT INTO idempotency_keys (tenant, scope, key, made_id, fan_out_count, fingerprint, expires_at)
             SELECT t, 'publish', n::text, id_at(n, t), 1, '', n
             FROM generate_series(1, 20) AS t, generate_series(1, {of_each}) AS n;
         INSERT INTO sources (tenant, id, settings, secrets, rejected_count, version, created_at, updated_at)
             SELECT t, id_at(1799000000000, t * 1000 + s), '{{}}', '', 20, 1, 0, 0
             FROM generate_series(1, 20) AS t, generate_series(1, 50) AS s;
         INSERT INTO rejections (tenant, source_id, id, request)
             SELECT tenant, id, id_at(1800000000000 + n, n), '{{}}'
             FROM sources, generate_series(1, 20) AS n;"
    )
}

/// Ends all open work. The tables keep their pages, and the server knows that nothing is in them.
const EMPTY: &str = "DELETE FROM open_deliveries; DELETE FROM leases; DELETE FROM lanes";

/// The plan of a statement, as every connection of the store has it.
async fn plan(link: &Link, sql: &str) -> String {
    link.batch(&format!("PREPARE planned AS {sql}")).await.unwrap();
    let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'";
    let count: i32 = link.query_opt(count, &[]).await.unwrap().unwrap().get(0);
    let parameters = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
    let parameters = if count == 0 { parameters } else { format!("({parameters})") };
    let steps = link.query(&format!("EXPLAIN EXECUTE planned {parameters}"), &[]).await.unwrap();
    link.batch("DEALLOCATE planned").await.unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get(0)).collect();
    steps.join("\n")
}

/// What goes through a whole table, or reads more than it answers.
fn is_walk(step: &str) -> bool {
    let small = ["tenants", "workers", "leaders", "breakers", "api_keys", "data_keys", "meta"];
    let is_of_small = small.iter().any(|table| step.contains(&format!("on {table} ")));
    step.contains("Seq Scan") && !is_of_small || step.contains("Bitmap") || step.contains("Hash Join")
}

fn lists() -> Vec<String> {
    let mut lists = vec![history::LIST_EVENTS.to_owned(), history::inflight_sql(), lanes::list_sql()];
    for place in [Place::Open, Place::Done, Place::Either] {
        lists.extend(["", OF_EVENT, OF_ENDPOINT].map(|condition| deliveries_sql(place, condition)));
    }
    for state in [None, Some(DeadLetterState::Open)] {
        lists.extend([false, true].map(|is_of_endpoint| dead_sql(state, is_of_endpoint)));
    }
    lists.push(api_keys::list_api_keys(true));
    lists.extend(jobs::candidates_sql());
    lists.extend(jobs::cancel_candidates_sql());
    lists.push(jobs::list_sql(true));
    lists.push(jobs::list_sql(false));
    lists.push(sources::list_sql());
    lists.push(rejections::LIST.to_owned());
    lists
}

fn looks() -> Vec<String> {
    let mut looks = vec![
        history::find_event_sql(),
        history::find_delivery_sql(),
        replay::lock_original_sql(),
        api_keys::list_api_keys(false),
        jobs::cancel_sql(),
        jobs::open_sql(),
        sources::find_sql(),
        sources::of_tenant_sql(),
    ];
    looks.extend(jobs::purge_sql());
    let constant = [
        history::FIND_CLAIMED,
        history::ATTEMPTS_OF_DELIVERIES,
        replay::TAKE_KEY,
        replay::FIND_KEY,
        replay::FIND_OPEN,
        replay::OPEN_REPLAY,
        replay::MARK_REPLAYED,
        replay::DISCARD,
        upkeep::WALK,
        upkeep::ENDPOINT_END,
        upkeep::FIND_ORPHANS,
        upkeep::LOCK_ORPHANS,
        upkeep::STILL_FREE,
        upkeep::FORGET_ENABLED,
        upkeep::DRAINED,
        upkeep::END_DRAIN,
        sweep::FIND_DELIVERIES,
        sweep::REMOVE_ATTEMPTS,
        sweep::REMOVE_DELIVERIES,
        sweep::FIND_EVENTS,
        sweep::LOCK_EVENTS,
        sweep::REMOVE_EVENTS,
        history::COUNT_DEAD,
        history::HAS_MORE_DEAD,
        jobs::OUTCOMES,
        jobs::FORGET,
        jobs::LOCK,
        jobs::WRITE,
        jobs::COUNT_REPLAYABLE,
        jobs::LOCK_ORIGINALS,
        jobs::LOOK,
        jobs::INSERT,
        jobs::MARK_REPLAYED,
        quotas::HEAR,
        quotas::ADD,
        quotas::READ,
        replay::LOCK_EVENT,
        ending::TAKE_LEASES,
        ending::LOCK_OPEN,
        ending::END,
        notices::TELL_OF_DEAD,
        interventions::LOCK_WAITING,
        interventions::IS_LEASED,
        interventions::RETRY_NOW,
        interventions::EXPUNGE,
        interventions::OPEN_OF_EVENT,
        lanes::LANES_OF,
        lanes::LOCK,
        lanes::FIND_HEAD,
        lanes::TAKES_EVENTS,
        lanes::LOCK_DEAD,
        lanes::WAITING_REPLAY,
        lanes::MAKE_DUE,
        lanes::REPLAY_HEAD,
        lanes::END_HOLD,
        lanes::SET_HEAD,
        upkeep::FORGET_KEYS,
        api_keys::FIND_API_KEY,
        keyring::FIND_DATA_KEY,
        registry::FIND_TENANT_NUMBER,
        sources::OWNER,
        sources::VERSION,
        sources::COUNT,
        rejections::COUNT,
        rejections::FORGET,
    ];
    looks.extend(constant.map(str::to_owned));
    looks
}

/// What stands on the way of an event.
fn hot() -> Vec<String> {
    let hot = [
        publish::STORE,
        publish::STORE_IN_LANES,
        claims::FIND,
        claims::SLIDE,
        finish::RECORD,
        finish::LOCK_LANES,
        lanes::ADVANCE,
        lanes::JOIN,
        health::FAIL,
        health::WORKS,
        health::DISABLE,
        health::FORGET,
        notices::TELL,
        leases::HELD,
        deliveries::DUE_ENDPOINTS,
        deliveries::LEASE,
        deliveries::NOTE_START,
        deliveries::LEASES_OF,
        deliveries::LOAD_EVENTS,
        deliveries::BACKLOG,
        leases::FREE,
        leases::NUMBERS_OF_WORKER,
        workers::ENLIST,
        workers::BEAT,
        workers::FREE_STRAYS,
        workers::STRIKE_OFF_AT,
        workers::STRIKE_OFF,
        workers::FREE_OF_WORKER,
        workers::FREE_OF_DEAD,
        workers::LEAD,
        workers::FIND_LEADER,
        breakers::OPEN,
        breakers::CHANGE,
        breakers::CLOSE,
        breakers::FIND,
    ];
    hot.map(str::to_owned).to_vec()
}

/// Whether a plan reads an index of one of the large tables from end to end, rather than what it looks for.
/// The first step of a walk takes one row of it.
fn reads_a_whole_index(plan: &str) -> bool {
    let large = [
        "events",
        "open_deliveries",
        "leases",
        "deliveries_done",
        "attempts",
        "idempotency_keys",
        "lanes",
        "sources",
        "rejections",
    ];
    let steps: Vec<&str> = plan.lines().collect();
    let is_of_large = |step: &str| {
        let (_, table) = step.split_once(" on ").unwrap_or_default();
        large.iter().any(|large| table.starts_with(large))
    };
    steps.iter().enumerate().any(|(place, step)| {
        let is_limited = place > 0 && steps[place - 1].contains("Limit  (");
        let is_sought = steps.get(place + 1).is_some_and(|next| next.contains("Index Cond:"));
        step.contains("Index ") && step.contains("Scan") && is_of_large(step) && !is_sought && !is_limited
    })
}

/// What a plan must hold: by which index, and how far, it looks for what is asked for.
const SOUGHT: [(&str, &str); 15] = [
    (finish::RECORD, "using open_deliveries_pkey on open_deliveries o "),
    (finish::RECORD, "Index Cond: ((worker = $1) AND (number = r_1.number))"),
    (leases::FREE, "Index Cond: ((worker = $1) AND (number = given.number))"),
    (deliveries::LEASE, "using open_deliveries_due on open_deliveries o "),
    (deliveries::LEASE, "AND (due_at <= $2) AND (id >= asked.first_id))"),
    (workers::FREE_OF_DEAD, "using open_deliveries_pkey on open_deliveries o "),
    (ending::END, "using open_deliveries_pkey on open_deliveries "),
    (lanes::ADVANCE, "using open_deliveries_in_lane on open_deliveries o_"),
    (lanes::ADVANCE, "using open_deliveries_pkey on open_deliveries o"),
    (lanes::LOCK, "using lanes_pkey on lanes l"),
    (finish::LOCK_LANES, "using lanes_pkey on lanes"),
    (claims::FIND, "((tenant = asked.tenant) AND (scope = $3) AND (key = asked.key))"),
    (claims::SLIDE, "((tenant = asked.tenant) AND (scope = $3) AND (key = asked.key))"),
    (sources::OWNER, "using sources_by_id on sources s"),
    (rejections::FORGET, "AND (source_id = $2) AND (id <= "),
];

/// Plans must be the same before anything is stored, when the server knows nothing of it yet, and when it does.
async fn check(rows: u32) {
    let Some((world, url)) = world_at().await else { return };
    let database = connect(&url).await;
    // Swept while it was empty: then the server is sure that there is nothing.
    for step in ["", "VACUUM ANALYZE", &fill(rows), "ANALYZE", EMPTY] {
        database.batch_execute(step).await.unwrap();
        if step == EMPTY {
            database.batch_execute("VACUUM (ANALYZE, TRUNCATE off)").await.unwrap();
        }
        let link = world.store.database.browse().await.unwrap();
        for sql in lists().iter().chain(&looks()).chain(&hot()) {
            let plan = plan(&link, sql).await;
            assert!(!plan.lines().any(is_walk), "{plan}\n{sql}");
            assert!(!reads_a_whole_index(&plan), "{plan}\n{sql}");
        }
        for (sql, sought) in SOUGHT {
            let plan = plan(&link, sql).await;
            assert!(plan.contains(sought), "{sought}\n{plan}\n{sql}");
        }
        for sql in lists() {
            let plan = plan(&link, &sql).await;
            assert!(!plan.contains("Sort  ("), "{plan}\n{sql}");
        }
    }
}

#[tokio::test]
async fn no_query_goes_through_a_table() {
    check(100_000).await;
}

#[tokio::test]
#[ignore = "takes a minute: `make soak` runs it"]
async fn no_query_goes_through_a_table_of_a_million_rows() {
    check(1_000_000).await;
}
