//! How SQLite goes about each query on the way of an event: by an index, never through a whole table,
//! never by sorting.

use harbor_model::id::{EndpointId, EventId};
use harbor_model::port::history::DeliveryFilter;
use rusqlite::Connection;

use crate::sqlite::history::{DeliveryList, Direction, dead_sql};
use crate::sqlite::jobs::purge::Stage;
use crate::sqlite::registry::{sources, subscriptions};
use crate::sqlite::{
    breakers, claims, deliveries, finish, health, history, interventions, jobs, lanes, migrations, notices,
    publish, quotas, rejections, replay, sweep, upkeep, workers,
};

fn plan(conn: &Connection, sql: &str) -> String {
    let mut query = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = query.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>("detail").unwrap());
    }
    steps.join("; ")
}

fn database() -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    migrations::migrate(&mut conn).unwrap();
    conn
}

#[test]
fn no_query_goes_through_a_table_or_sorts() {
    let conn = database();
    let lists = [DeliveryList::OfEvent, DeliveryList::OfEndpoint, DeliveryList::Dead, DeliveryList::All];
    let mut queries: Vec<String> = Vec::new();
    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
        queries.extend(lists.map(|list| list.sql(direction)));
        for state in [None, Some(harbor_model::delivery::DeadLetterState::Open)] {
            queries.extend([false, true].map(|is_of_endpoint| dead_sql(state, is_of_endpoint, direction)));
        }
    }
    queries.extend(
        [
            publish::INSERT_EVENT,
            publish::INSERT_DELIVERY,
            claims::FIND,
            claims::TAKE,
            claims::SLIDE,
            deliveries::NEXT_OPEN_ENDPOINT,
            deliveries::NEXT_OPEN_TENANT,
            deliveries::WORKING_ENDPOINT,
            deliveries::DUE_OF_ENDPOINT,
            deliveries::DUE_SINCE,
            deliveries::DELIVERY_TO_LEASE,
            deliveries::NEXT_DUE_OF_ENDPOINT,
            deliveries::LOAD_EVENT,
            finish::MOVE_TO_DELIVERED,
            finish::MOVE_TO_FAILED,
            finish::MOVE_TO_DEAD,
            finish::END_OPEN,
            finish::INSERT_ATTEMPT,
            finish::LANE_OF_DELIVERY,
            finish::TYPE_OF_DELIVERY,
            lanes::JOIN,
            lanes::HOLD,
            lanes::FIND,
            lanes::FIRST,
            lanes::MAKE_DUE,
            lanes::PROMOTE,
            lanes::TAKE_PLACE,
            lanes::SET_HEAD,
            lanes::REMOVE,
            lanes::FORGET_HELD,
            lanes::LIST,
            lanes::FIND_HEAD,
            lanes::WAITING_REPLAY,
            health::FAIL,
            health::FORGET,
            health::FORGET_OF_URL,
            health::DISABLE,
            interventions::STANDING,
            interventions::EXPUNGE,
            interventions::OPEN_OF_EVENT,
            notices::INSERT,
            subscriptions::NOTE_WATCHED,
            sources::OWNER,
            sources::VERSION,
            sources::COUNT,
            rejections::LIST,
            rejections::COUNT,
            rejections::FORGET,
            history::LIST_EVENTS,
            history::FIND_EVENT,
            history::FIND_CLAIMED,
            history::ATTEMPTS_OF_DELIVERY,
            replay::OPEN_REPLAY,
            replay::MARK_REPLAYED,
            upkeep::ENDPOINT_END,
            upkeep::OPEN_OF_ENDPOINT,
            upkeep::FORGET_KEYS,
            workers::COUNT_INTERRUPTION,
            breakers::INSERT,
            breakers::UPDATE,
            breakers::DELETE,
            breakers::FIND,
        ]
        .map(str::to_owned),
    );
    queries.extend([sources::list_sql(), sources::find_sql(), sources::of_tenant_sql()]);
    for sql in queries {
        let plan = plan(&conn, &sql);
        assert!(!plan.contains("SCAN"), "{plan}\n{sql}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}\n{sql}");
    }
}

#[test]
fn no_walk_of_upkeep_or_a_job_goes_through_a_table_or_sorts() {
    let conn = database();
    let mut queries: Vec<String> = jobs::purge::STAGES
        .into_iter()
        .flat_map(|stage| match stage {
            Stage::Rows { delete, .. } => vec![delete],
            Stage::Wide { list, delete, .. } => vec![list, delete],
        })
        .map(str::to_owned)
        .collect();
    let of = |event, endpoint| DeliveryFilter {
        event_id: event,
        endpoint_id: endpoint,
        ..DeliveryFilter::default()
    };
    let (event, endpoint) = (EventId::from_number(1), EndpointId::from_number(1));
    for filter in [of(None, None), of(Some(event), None), of(None, Some(endpoint))] {
        queries.push(jobs::cancel::open_sql(&filter));
    }
    queries.extend([jobs::list_sql(true), jobs::list_sql(false), jobs::open_sql()]);
    queries.extend(
        [
            jobs::COUNT_OPEN,
            jobs::PUT,
            jobs::FORGET,
            jobs::replay::IS_OF_JOB,
            jobs::replay::HAS_REPLAY,
            jobs::purge::OWNER,
            jobs::purge::BLANK,
            history::summary::NEXT_CAUSE,
            history::summary::NEXT_ENDPOINT,
            history::summary::LAST_DEATH,
            history::summary::PASS_OVER,
            history::summary::COUNT_REST,
            sweep::NEXT_TENANT,
            sweep::REPLAYING,
            sweep::OLD_EVENTS,
            sweep::OF_EVENT,
            sweep::OLD_DEAD,
            sweep::HOLDS_LANE,
            sweep::PAYLOAD_BYTES,
            sweep::REMOVE_ATTEMPTS,
            sweep::REMOVE_DELIVERY,
            sweep::REMOVE_EVENT,
            upkeep::SETTLE,
            upkeep::END_DRAIN,
            quotas::COUNT,
            quotas::FORGET,
            claims::RELEASE,
            replay::FIND_ORIGINAL,
            replay::FIND_OWED,
            replay::TAKES_EVENTS,
        ]
        .map(str::to_owned),
    );
    for sql in queries {
        let plan = plan(&conn, &sql);
        // The jobs of all are in the order of their key.
        let is_walk = plan.contains("SCAN") && !plan.contains("SCAN jobs USING INDEX jobs_open");
        assert!(!is_walk, "{plan}\n{sql}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}\n{sql}");
    }
}

#[test]
fn what_is_counted_is_counted_by_its_index_alone() {
    let conn = database();
    let check = |sql: &str, index: &str| {
        let plan = plan(&conn, sql);
        assert!(plan.contains(&format!("USING COVERING INDEX {index}")), "{plan}\n{sql}");
    };
    use history::summary::{COUNT_REST, LAST_DEATH, NEXT_CAUSE, NEXT_ENDPOINT, PASS_OVER};
    for sql in [NEXT_CAUSE, NEXT_ENDPOINT, LAST_DEATH, PASS_OVER, COUNT_REST] {
        check(sql, "deliveries_dead_counted");
    }
    check(jobs::replay::COUNT_OF_JOB, "deliveries_by_job");
    check(upkeep::OPEN_OF_ENDPOINT, "deliveries_due");
    check(sweep::OLD_EVENTS, "events_id");
}

#[test]
fn endpoints_that_drain_or_were_enabled_are_found_without_the_others() {
    let conn = database();
    let check = |sql: &str, index: &str| {
        let plan = plan(&conn, sql);
        assert!(plan.contains(index) && plan.contains("deliveries_due"), "{plan}\n{sql}");
    };
    check(upkeep::DRAINED, "SCAN e USING INDEX endpoints_draining");
    check(upkeep::ENABLED, "SCAN endpoints USING INDEX endpoints_enabled");
    let lanes = plan(&conn, upkeep::LANE_DRAINS);
    assert!(!lanes.contains("SCAN"), "{lanes}");
}

#[test]
fn what_is_due_is_found_by_its_index_alone() {
    let conn = database();
    for sql in [
        deliveries::NEXT_OPEN_ENDPOINT,
        deliveries::NEXT_OPEN_TENANT,
        deliveries::DUE_OF_ENDPOINT,
        deliveries::DUE_SINCE,
        deliveries::NEXT_DUE_OF_ENDPOINT,
    ] {
        let plan = plan(&conn, sql);
        assert!(plan.contains("USING COVERING INDEX deliveries_due"), "{plan}\n{sql}");
    }
}

#[test]
fn who_waits_in_a_lane_is_found_by_its_index_alone() {
    let conn = database();
    for sql in [lanes::FIRST, lanes::COUNT_WAITING] {
        let plan = plan(&conn, sql);
        assert!(plan.contains("USING COVERING INDEX deliveries_in_lane"), "{plan}\n{sql}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}\n{sql}");
    }
}

#[test]
fn notices_are_read_in_their_order() {
    let plan = plan(&database(), notices::OLDEST);
    assert!(plan.starts_with("SCAN n") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn each_list_of_deliveries_goes_by_its_index() {
    let conn = database();
    let check = |sql: String, index: &str| {
        let plan = plan(&conn, &sql);
        assert!(plan.contains(index), "{plan}\n{sql}");
    };
    check(DeliveryList::OfEvent.sql(Direction::NewestFirst), "deliveries_by_event");
    check(DeliveryList::OfEndpoint.sql(Direction::NewestFirst), "deliveries_by_endpoint (");
    check(DeliveryList::All.sql(Direction::NewestFirst), "PRIMARY KEY");
    check(dead_sql(None, false, Direction::NewestFirst), "deliveries_dead (");
    check(dead_sql(None, true, Direction::NewestFirst), "deliveries_dead_by_endpoint");
}
