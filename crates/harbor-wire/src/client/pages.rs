//! Lists, walked page by page.

use std::collections::VecDeque;
use std::sync::Arc;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::connection::{Connection, Request};
use crate::client::error::ClientError;
use crate::list::List;

/// Walks a list, newest first. Asks the server only for what is taken.
#[derive(Debug)]
pub struct Pages<T> {
    connection: Arc<Connection>,
    path: Vec<String>,
    query: Vec<(String, String)>,
    cursor: Cursor,
    items: VecDeque<T>,
}

#[derive(Debug)]
enum Cursor {
    Next(Option<String>),
    End,
}

impl<T: DeserializeOwned> Pages<T> {
    pub(crate) fn new(connection: Arc<Connection>, path: &[&str], query: &impl Serialize) -> Self {
        let mut query = pairs(query);
        let first = query.iter().position(|(name, _)| name == "cursor");
        let cursor = Cursor::Next(first.map(|at| query.remove(at).1));
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self { connection, path, query, cursor, items: VecDeque::new() }
    }

    /// The next page; none after the last. A page may be empty and still have a next one.
    pub async fn next_page(&mut self) -> Result<Option<List<T>>, ClientError> {
        let Cursor::Next(cursor) = &self.cursor else { return Ok(None) };
        let mut query = self.query.clone();
        query.extend(cursor.iter().map(|cursor| ("cursor".to_owned(), cursor.clone())));
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();

        let page: List<T> = self.connection.ask(Request::new(Method::GET, &path).query(query)).await?;

        self.cursor = page.next_cursor.clone().map_or(Cursor::End, |cursor| Cursor::Next(Some(cursor)));
        Ok(Some(page))
    }

    /// The next thing; none after the last.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        while self.items.is_empty() {
            let Some(page) = self.next_page().await? else { return Ok(None) };
            self.items.extend(page.data);
        }
        Ok(self.items.pop_front())
    }

    /// Takes the next `max` things, or all that are left.
    pub async fn take(&mut self, max: usize) -> Result<Vec<T>, ClientError> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(item) = self.next().await? else { break };
            taken.push(item);
        }
        Ok(taken)
    }
}

/// The fields of a query that are set, as texts.
fn pairs(query: &impl Serialize) -> Vec<(String, String)> {
    let value = serde_json::to_value(query).expect("a query has only texts and numbers");
    let fields = value.as_object().expect("a query is a struct");
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{DeliveryStatus, ListDeliveries};

    #[test]
    fn a_query_names_what_is_set() {
        let query = ListDeliveries {
            status: Some(DeliveryStatus::Dead),
            limit: Some(7),
            ..ListDeliveries::default()
        };
        let expected = [("limit", "7"), ("status", "dead")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs(&query), expected);
    }
}
