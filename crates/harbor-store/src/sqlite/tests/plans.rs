//! How SQLite goes about each query on the way of an event: by an index, never through a whole table,
//! never by sorting.

use rusqlite::Connection;

use crate::sqlite::history::{DeliveryList, dead_sql};
use crate::sqlite::{
    breakers, claims, deliveries, finish, history, migrations, publish, replay, upkeep, workers,
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
    let mut queries: Vec<String> = lists.into_iter().map(DeliveryList::sql).collect();
    for state in [None, Some(harbor_model::delivery::DeadLetterState::Open)] {
        queries.extend([false, true].map(|is_of_endpoint| dead_sql(state, is_of_endpoint)));
    }
    queries.extend(
        [
            publish::INSERT_EVENT,
            publish::INSERT_DELIVERY,
            claims::FIND,
            claims::TAKE,
            deliveries::NEXT_OPEN_ENDPOINT,
            deliveries::WORKING_ENDPOINT,
            deliveries::DUE_OF_ENDPOINT,
            deliveries::DELIVERY_TO_LEASE,
            deliveries::NEXT_DUE_OF_ENDPOINT,
            deliveries::LOAD_EVENT,
            finish::MOVE_TO_DELIVERED,
            finish::MOVE_TO_FAILED,
            finish::MOVE_TO_DEAD,
            finish::END_OPEN,
            finish::INSERT_ATTEMPT,
            finish::DISABLE_GONE,
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
    for sql in queries {
        let plan = plan(&conn, &sql);
        assert!(!plan.contains("SCAN"), "{plan}\n{sql}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}\n{sql}");
    }
}

#[test]
fn what_is_due_is_found_by_its_index_alone() {
    let conn = database();
    for sql in [deliveries::NEXT_OPEN_ENDPOINT, deliveries::DUE_OF_ENDPOINT, deliveries::NEXT_DUE_OF_ENDPOINT]
    {
        let plan = plan(&conn, sql);
        assert!(plan.contains("USING COVERING INDEX deliveries_due"), "{plan}\n{sql}");
    }
}

#[test]
fn each_list_of_deliveries_goes_by_its_index() {
    let conn = database();
    let check = |sql: String, index: &str| {
        let plan = plan(&conn, &sql);
        assert!(plan.contains(index), "{plan}\n{sql}");
    };
    check(DeliveryList::OfEvent.sql(), "deliveries_by_event");
    check(DeliveryList::OfEndpoint.sql(), "deliveries_by_endpoint (");
    check(DeliveryList::All.sql(), "PRIMARY KEY");
    check(dead_sql(None, false), "deliveries_dead (");
    check(dead_sql(None, true), "deliveries_dead_by_endpoint");
}
