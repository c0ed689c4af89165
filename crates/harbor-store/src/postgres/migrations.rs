//! Brings the tables to the shape that this program knows.

use refinery::embed_migrations;
use tokio_postgres::Client;

use crate::postgres::OpenError;
use crate::postgres::trouble::Trouble;

mod embedded {
    super::embed_migrations!("src/postgres/migrations");
}

/// Keeps processes that start at once from migrating at once. Any number would do; this is `harbor` in ASCII.
const LOCK: i64 = 0x6861_7262_6f72;

/// Every migration that this program knows, in their order.
#[cfg(test)]
pub(super) fn all() -> Vec<refinery::Migration> {
    embedded::migrations::runner().get_migrations().clone()
}

/// Applies what is missing. Answers the names of what was applied.
///
/// A store that a newer program wrote is refused: this one does not know what its tables mean.
pub(super) async fn migrate(client: &mut Client) -> Result<Vec<String>, OpenError> {
    // The lock ends with the connection, whatever happens.
    let prepare = format!(
        "SELECT pg_advisory_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS harborhook; SET search_path = harborhook"
    );
    client.batch_execute(&prepare).await.map_err(OpenError::sql("prepare"))?;
    check_encoding(client).await?;
    let runner = embedded::migrations::runner();
    let known = runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0);
    if let Some(found) = version(client).await?.filter(|found| *found > known) {
        return Err(OpenError::Newer { found: i64::from(found), known: i64::from(known) });
    }
    let failed = |error| OpenError::Migration { source: Box::new(error) };
    let report = runner.run_async(client).await.map_err(failed)?;
    let unlock = format!("SELECT pg_advisory_unlock({LOCK})");
    client.batch_execute(&unlock).await.map_err(OpenError::sql("prepare"))?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Refuses a database that cannot keep every text: a delivery would fail at the first character it lacks.
async fn check_encoding(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('server_encoding')";
    let row = client.query_one(sql, &[]).await.map_err(OpenError::sql("read the encoding of"))?;
    let encoding: &str = row.try_get(0).map_err(OpenError::sql("read the encoding of"))?;
    if encoding == "UTF8" { Ok(()) } else { Err(OpenError::Encoding { found: encoding.to_owned() }) }
}

/// Whether the database has the version that this program knows.
pub(super) async fn is_present(client: &Client) -> Result<bool, OpenError> {
    let runner = embedded::migrations::runner();
    let known = runner.get_migrations().iter().map(refinery::Migration::version).max();
    Ok(version(client).await? == known)
}

/// The database's version; none where it was never migrated.
async fn version(client: &Client) -> Result<Option<i32>, OpenError> {
    let find = async || -> Result<Option<i32>, Trouble> {
        let sql = "SELECT to_regclass('harborhook.refinery_schema_history') IS NOT NULL";
        if !client.query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(None);
        }
        let sql = "SELECT max(version) FROM harborhook.refinery_schema_history";
        Ok(client.query_one(sql, &[]).await?.try_get(0)?)
    };
    find().await.map_err(OpenError::trouble("read the version of"))
}
