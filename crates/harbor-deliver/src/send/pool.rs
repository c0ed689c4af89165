//! Keeps connections for the next request to the same place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::send::connection::Connection;
use crate::send::http1::Http1;
use crate::send::http2::Http2;
use crate::send::settings::SendSettings;
use crate::send::target::Place;

/// Connections that wait for the next request, by where they lead and by whose permission they were opened.
pub(super) struct Pool {
    idle_per_host_max: usize,
    idle_total_max: usize,
    idle_timeout: Duration,
    age_max: Duration,
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    by_place: HashMap<Arc<Place>, Shelf>,
    /// HTTP/1.1 connections on all shelves.
    idle: usize,
}

#[derive(Default)]
struct Shelf {
    /// The one that was used last is taken first, so that the others can grow old.
    idle: Vec<Idle>,
    shared: Option<Shared>,
}

struct Idle {
    connection: Box<Http1>,
    until: Instant,
}

struct Shared {
    connection: Arc<Http2>,
    used: Instant,
}

impl Pool {
    pub(super) fn new(settings: &SendSettings) -> Self {
        Self {
            idle_per_host_max: settings.idle_per_host_max,
            idle_total_max: settings.idle_total_max,
            idle_timeout: settings.idle_timeout,
            age_max: settings.connection_age_max,
            shelves: Mutex::default(),
        }
    }

    /// A connection to `place` that the receiver has not closed, as far as we know.
    pub(super) fn take(&self, place: &Place) -> Option<Connection> {
        let now = Instant::now();
        if let Some(shared) = self.shared(place, now) {
            return Some(Connection::Http2(shared));
        }
        while let Some(mut idle) = self.pop(place) {
            if now < idle.until && idle.connection.is_idle() {
                return Some(Connection::Http1(idle.connection));
            }
        }
        None
    }

    /// Keeps `connection` if it is fit for another request, but at most as long as the receiver says it will.
    pub(super) fn put(
        &self,
        place: &Arc<Place>,
        mut connection: Box<Http1>,
        kept_by_receiver: Option<Duration>,
    ) {
        let now = Instant::now();
        let idle_time = kept_by_receiver.map_or(self.idle_timeout, |kept| kept.min(self.idle_timeout));
        let until = (now + idle_time).min(connection.born + self.age_max);
        if until <= now || !connection.is_idle() {
            return;
        }
        let mut shelves = self.shelves();
        if shelves.idle >= self.idle_total_max {
            return;
        }
        let shelf = shelves.at(place);
        if shelf.idle.len() < self.idle_per_host_max {
            shelf.idle.push(Idle { connection, until });
            shelves.idle += 1;
        }
    }

    /// Offers `connection` to others, unless there is one already.
    pub(super) fn share(&self, place: &Arc<Place>, connection: Arc<Http2>) {
        let mut shelves = self.shelves();
        let shared = &mut shelves.at(place).shared;
        if shared.as_ref().is_none_or(|shared| !shared.connection.is_open()) {
            *shared = Some(Shared { connection, used: Instant::now() });
        }
    }

    /// Offers `connection` no more. Requests that are on it go on.
    pub(super) fn retire(&self, place: &Place, connection: &Arc<Http2>) {
        if let Some(shelf) = self.shelves().by_place.get_mut(place) {
            shelf.shared.take_if(|shared| Arc::ptr_eq(&shared.connection, connection));
        }
    }

    /// Closes what has waited too long or was closed by its receiver.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut closing_http1 = Vec::new();
        let mut closing_http2 = Vec::new();
        let mut shelves = self.shelves();
        for shelf in shelves.by_place.values_mut() {
            let is_stale = |idle: &mut Idle| idle.until <= now || !idle.connection.is_idle();
            closing_http1.extend(shelf.idle.extract_if(.., is_stale));
            let is_stale = |shared: &mut Shared| {
                shared.used + self.idle_timeout <= now || !self.is_usable(&shared.connection, now)
            };
            closing_http2.extend(shelf.shared.take_if(is_stale));
        }
        shelves.by_place.retain(|_, shelf| !shelf.idle.is_empty() || shelf.shared.is_some());
        shelves.idle -= closing_http1.len();
        // Closing costs system calls; the pool is open again before that.
        drop(shelves);
    }

    fn shared(&self, place: &Place, now: Instant) -> Option<Arc<Http2>> {
        let mut shelves = self.shelves();
        let shelf = shelves.by_place.get_mut(place)?;
        shelf.shared.take_if(|shared| !self.is_usable(&shared.connection, now));
        let shared = shelf.shared.as_mut()?;
        shared.used = now;
        Some(shared.connection.clone())
    }

    fn is_usable(&self, connection: &Http2, now: Instant) -> bool {
        now < connection.born + self.age_max && connection.is_open()
    }

    fn pop(&self, place: &Place) -> Option<Idle> {
        let mut shelves = self.shelves();
        let idle = shelves.by_place.get_mut(place)?.idle.pop()?;
        shelves.idle -= 1;
        Some(idle)
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // A panic in another thread leaves the shelves whole; at worst a connection is forgotten.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn at(&mut self, place: &Arc<Place>) -> &mut Shelf {
        if !self.by_place.contains_key(place) {
            self.by_place.insert(place.clone(), Shelf::default());
        }
        self.by_place.get_mut(place).expect("it was just inserted")
    }
}
