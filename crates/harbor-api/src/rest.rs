//! One file for each resource. Every handler says who may, reads the request, does one thing and answers.

pub(crate) mod ingest;
pub(crate) mod publish;

pub(crate) mod api_keys;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod endpoint_actions;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod lanes;
pub(crate) mod replays;
pub(crate) mod sources;
pub(crate) mod subscriptions;
pub(crate) mod tenants;

pub(crate) mod documents;
pub(crate) mod health;
pub(crate) mod ping;

pub(crate) mod change;
pub(crate) mod rotation;
