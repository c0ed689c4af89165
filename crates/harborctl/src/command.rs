//! One file for each noun.

pub(crate) mod delivery;
pub(crate) mod dlq;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod replay;
pub(crate) mod source;
pub(crate) mod subscription;
pub(crate) mod tenant;

pub(crate) mod quick;
pub(crate) mod tail;
pub(crate) mod traffic;

pub(crate) mod health;
pub(crate) mod ping;
pub(crate) mod version;

pub(crate) mod completion;
pub(crate) mod config;

use harbor_wire::endpoint::RotatedSecret;
use harbor_wire::list::List;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Cell, Column};

/// Writes a page of a list, and says how to see more of it.
fn show_list<T: Serialize>(
    output: &Output,
    list: &List<T>,
    columns: &[Column<T>],
    things: &str,
) -> Result<(), Failure> {
    output.show(list, |view| view.table(&list.data, columns))?;
    if list.data.is_empty() {
        output.hint(&format!("no {things}"));
    }
    if let Some(cursor) = &list.next_cursor {
        output.hint(&format!("there is more: --all, or --cursor {cursor}"));
    }
    Ok(())
}

/// What is left to say of something that was deleted.
#[derive(Serialize)]
struct Deleted<'a> {
    id: &'a str,
    deleted: bool,
}

/// Writes a new secret of something that is `kind`, whose old one `still` does its work for a while.
fn show_rotated(
    output: &Output,
    kind: &'static str,
    still: &'static str,
    rotated: &RotatedSecret,
) -> Result<(), Failure> {
    output.show(rotated, |view| {
        view.details(vec![
            (kind, Cell::new(&rotated.id)),
            ("secret", Cell::new(&rotated.secret)),
            (still, Cell::exact_time(&rotated.previous_secret_expires_at, view)),
        ])
    })?;
    output.hint("the secret is shown this once");
    Ok(())
}

/// Writes that something is deleted.
fn show_deleted(output: &Output, id: &str) -> Result<(), Failure> {
    output.show(&Deleted { id, deleted: true }, |_| format!("deleted {id}"))
}
