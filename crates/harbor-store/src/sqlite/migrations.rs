//! Brings the tables to the shape that this program knows.

use refinery::embed_migrations;
use rusqlite::Connection;

use crate::sqlite::OpenError;

mod embedded {
    super::embed_migrations!("src/sqlite/migrations");
}

/// Applies what is missing. Answers the names of what was applied.
///
/// A store that a newer program wrote is refused: this one does not know what its tables mean.
pub(super) fn migrate(conn: &mut Connection) -> Result<Vec<String>, OpenError> {
    let failed = |error| OpenError::Migration { source: Box::new(error) };
    let runner = embedded::migrations::runner();
    let known = runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0);
    if has_migrations(conn).map_err(OpenError::sqlite("look for its version"))? {
        let last = runner.get_last_applied_migration(conn).map_err(failed)?;
        if let Some(found) = last.map(|migration| migration.version()).filter(|found| *found > known) {
            return Err(OpenError::Newer { found: i64::from(found), known: i64::from(known) });
        }
    }
    let report = runner.run(conn).map_err(failed)?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

fn has_migrations(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'refinery_schema_history'";
    conn.prepare(sql)?.exists([])
}
