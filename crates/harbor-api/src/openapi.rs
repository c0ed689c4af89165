//! The OpenAPI document: generated from the handlers, completed with what all of them share.

use harbor_wire::problem::{PROBLEM_MEDIA_TYPE, Problem};
use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::envelope::PASSING;
use crate::problem::Kind;
use crate::quota;
use crate::rest;
use crate::router::TENANT_BASES;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Harborhook",
        description = "Publish an event once; Harborhook delivers it to every endpoint that wants it: signed, \
            at least once, with retries, dead letters and replays.\n\n\
            Everything that belongs to a tenant is found at `/v1/tenants/{tenant_id}/…`, and for the tenant of \
            the credential at `/v1/…`. Errors are `application/problem+json` (RFC 9457); programs act on `code`. \
            Times are RFC 3339 in UTC, durations are written like `250ms`, `30s`, `5m`, `2h`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        rest::ping::ping,
        rest::health::healthz,
        rest::health::readyz,
        rest::tenants::create,
        rest::tenants::list,
        rest::tenants::find,
        rest::tenants::update,
        rest::tenants::delete,
        rest::endpoints::create,
        rest::endpoints::list,
        rest::endpoints::find,
        rest::endpoints::update,
        rest::endpoints::delete,
        rest::endpoint_actions::rotate_secret,
        rest::endpoint_actions::test,
        rest::endpoint_actions::pause,
        rest::endpoint_actions::resume,
        rest::endpoint_actions::enable,
        rest::endpoint_actions::disable,
        rest::lanes::list,
        rest::lanes::skip,
        rest::lanes::retry,
        rest::sources::create,
        rest::sources::list,
        rest::sources::find,
        rest::sources::update,
        rest::sources::delete,
        rest::sources::rotate_secret,
        rest::sources::rejections,
        rest::ingest::ingest,
        rest::subscriptions::create,
        rest::subscriptions::list,
        rest::subscriptions::find,
        rest::subscriptions::update,
        rest::subscriptions::delete,
        rest::publish::publish,
        rest::publish::batch_publish,
        rest::events::list,
        rest::events::find,
        rest::events::deliveries,
        rest::events::expunge,
        rest::deliveries::list,
        rest::deliveries::find,
        rest::deliveries::replay,
        rest::deliveries::retry,
        rest::deliveries::cancel,
        rest::deliveries::cancel_many,
        rest::dead_letters::list,
        rest::dead_letters::summary,
        rest::dead_letters::discard,
        rest::replays::create,
        rest::replays::list,
        rest::replays::find,
        rest::replays::cancel,
        rest::jobs::list,
        rest::jobs::find,
        rest::jobs::cancel,
        rest::api_keys::create,
        rest::api_keys::list,
        rest::api_keys::delete,
    ),
    components(schemas(Problem)),
    tags(
        (name = "events", description = "Publish events, and see what became of them."),
        (name = "endpoints", description = "URLs that want events."),
        (name = "subscriptions", description = "Which event types go to which endpoint."),
        (name = "sources", description = "Addresses for the webhooks of providers, which are verified and become events."),
        (name = "deliveries", description = "One event owed to one endpoint, with every attempt."),
        (name = "dead letters", description = "Deliveries that are tried no more."),
        (name = "replays", description = "New deliveries of many old events, as jobs."),
        (name = "jobs", description = "Work on many deliveries, done a little at a time."),
        (name = "api keys", description = "Who may call."),
        (name = "tenants", description = "The boundary of isolation; for operators."),
        (name = "server", description = "Whether the server is there."),
    ),
)]
struct Generated;

/// The OpenAPI document as it is served at `/openapi.json`.
pub fn json() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("the document has only text keys");
    text.push('\n');
    text
}

/// The OpenAPI document.
pub(crate) fn document() -> Value {
    let mut document = serde_json::to_value(Generated::openapi()).expect("the document has only text keys");
    document["components"]["securitySchemes"] = json!({
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`hhk_…`) of a tenant or of the instance.",
        },
    });
    name_list_items(object_mut(&mut document["components"]["schemas"]));
    let mut paths = Map::new();
    for (path, methods) in object(document["paths"].take()) {
        let [below_name, below_own] = TENANT_BASES;
        if let Some(rest) = path.strip_prefix(&format!("{below_name}/")) {
            paths.insert(format!("{below_own}/{rest}"), each_operation(&methods, &path, Form::Own));
        }
        let completed = each_operation(&methods, &path, Form::Named);
        paths.insert(path, completed);
    }
    document["paths"] = Value::Object(paths);
    document
}

/// A list is generated with its items written out; they have a schema of their own.
fn name_list_items(schemas: &mut Map<String, Value>) {
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in names {
        if let Some(item) = name.strip_prefix("List_") {
            let item = json!({"$ref": format!("#/components/schemas/{item}")});
            schemas[&name]["properties"]["data"]["items"] = item;
        }
    }
}

/// How a path says whose resource it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By the tenant's name, or the resource is no tenant's.
    Named,
    /// By the credential.
    Own,
}

fn each_operation(methods: &Value, path: &str, form: Form) -> Value {
    let methods = object(methods.clone());
    let complete = |(method, operation): (String, Value)| {
        let operation = complete(object(operation), &method, path, form);
        (method, Value::Object(operation))
    };
    Value::Object(methods.into_iter().map(complete).collect())
}

/// Adds to an operation what all of its kind share: parts of the path, guards, security and problems.
fn complete(mut operation: Map<String, Value>, method: &str, path: &str, form: Form) -> Map<String, Value> {
    let mut parameters = path_parameters(path, form);
    let (has_params, is_guarded) = (!parameters.is_empty(), takes_if_match(method, path));
    if is_guarded {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "description": "Do it only to this version: the `ETag` of an earlier answer.",
            "required": false,
            "schema": {"type": "string"},
        }));
    }
    if let Some(body) = operation.get_mut("requestBody") {
        refuse_null(body);
    }
    let own = operation.remove("parameters").and_then(|own| own.as_array().cloned()).unwrap_or_default();
    let has_query = own.iter().any(|parameter| parameter["in"] == "query");
    parameters.extend(own);

    if form == Form::Own {
        let id = operation["operationId"].as_str().unwrap_or_default();
        operation.insert("operationId".to_owned(), json!(format!("{id}_of_own_tenant")));
    }
    operation.entry("security").or_insert_with(|| json!([{"api_key": []}]));
    let traits = Traits {
        is_secured: operation["security"] == json!([{"api_key": []}]),
        has_credential: operation["security"] != json!([{}]),
        has_body: operation.contains_key("requestBody"),
        has_query,
        has_params,
        is_guarded,
        is_own: form == Form::Own && !is_of_instance_too(method, path),
    };
    let responses = object_mut(operation.entry("responses").or_insert_with(|| json!({})));
    add_problems(responses, traits);
    if path.contains("/events:") {
        add_quota_headers(responses);
    }
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(parameters));
    }
    operation
}

/// What an operator finds at the path without a tenant too: there it is the instance's.
fn is_of_instance_too(method: &str, path: &str) -> bool {
    path.contains("/api-keys") || (path.contains("/jobs") && method == "get")
}

/// What of an operation decides which problems it can answer with.
#[derive(Clone, Copy)]
struct Traits {
    is_secured: bool,
    has_credential: bool,
    has_body: bool,
    has_query: bool,
    has_params: bool,
    is_guarded: bool,
    is_own: bool,
}

/// A body that may be left out is generated as one that may be null, which it may not.
fn refuse_null(body: &mut Value) {
    for content in object_mut(&mut body["content"]).values_mut() {
        let is_null = |schema: &Value| *schema == json!({"type": "null"});
        if let Some([schema, null]) = content["schema"]["oneOf"].as_array().map(Vec::as_slice)
            && is_null(null)
        {
            content["schema"] = schema.clone();
            body["required"] = json!(false);
            return;
        }
    }
}

fn path_parameters(path: &str, form: Form) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let names = names.filter(|name| form == Form::Named || *name != "tenant_id");
    let parameter = |name: &str| {
        let resource =
            path.split(&format!("/{{{name}}}")).next().and_then(|before| before.rsplit('/').next());
        let description = match resource.unwrap_or_default() {
            "tenants" => "The tenant.",
            "endpoints" => "The endpoint.",
            "subscriptions" => "The subscription.",
            "sources" | "ingest" => "The source.",
            "events" => "The event.",
            "deliveries" => "The delivery.",
            "dlq" => "The delivery that is dead.",
            "lanes" => {
                "The lane: its key, percent-encoded; nothing for the one lane of an endpoint that orders everything."
            }
            "replays" => "The replay.",
            "jobs" => "The job.",
            "api-keys" => "The API key; not the key itself.",
            other => unreachable!("`{other}` has no ids"),
        };
        json!({
            "name": name,
            "in": "path",
            "description": description,
            "required": true,
            "schema": {"type": "string"},
        })
    };
    names.map(parameter).collect()
}

/// Changes of things that have versions.
fn takes_if_match(method: &str, path: &str) -> bool {
    let has_versions =
        ["/endpoints/{id}", "/subscriptions/{id}", "/sources/{id}"].iter().any(|part| path.contains(part))
            || path == TENANT_BASES[0];
    has_versions && method != "get" && !path.ends_with(":test") && !path.contains("/lanes")
}

fn add_problems(responses: &mut Map<String, Value>, traits: Traits) {
    let mut kinds = Vec::new();
    if traits.has_credential {
        kinds.push(Kind::Unauthorized);
        kinds.push(Kind::StorageUnavailable);
    }
    if traits.is_secured {
        kinds.extend([Kind::Forbidden, Kind::TenantMismatch]);
    }
    if traits.has_body {
        kinds.extend([
            Kind::InvalidJson,
            Kind::PayloadTooLarge,
            Kind::UnsupportedMediaType,
            Kind::ValidationFailed,
        ]);
    } else if traits.has_query {
        kinds.push(Kind::ValidationFailed);
    }
    if traits.is_guarded {
        kinds.push(Kind::PreconditionFailed);
    }
    if traits.is_own {
        kinds.push(Kind::TenantRequired);
    }
    for kind in kinds {
        let status = kind.status().as_u16().to_string();
        let code = format!("`{}`", kind.code());
        match responses.get_mut(&status) {
            Some(known) => {
                let description = known["description"].as_str().unwrap_or_default();
                known["description"] = json!(format!("{}, {code}.", description.trim_end_matches('.')));
            }
            None => {
                responses.insert(status, json!({"description": format!("{code}.")}));
            }
        }
    }
    if traits.has_params {
        responses.entry("404").or_insert_with(|| json!({"description": "There is no such thing."}));
    }
    let is_problem = |status: &str| {
        let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
        status.is_some_and(|status| status.is_client_error() || status.is_server_error())
    };
    for (status, response) in responses.iter_mut().filter(|(status, _)| is_problem(status)) {
        response["content"] =
            json!({PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}});
        if PASSING.iter().any(|passing| passing.as_str() == status.as_str()) {
            response["headers"] = json!({
                "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}},
            });
        }
    }
}

/// Where a tenant has a quota, the answer to a publish says how it stands.
fn add_quota_headers(responses: &mut Map<String, Value>) {
    for (_, response) in responses.iter_mut().filter(|(status, _)| ["200", "429"].contains(&status.as_str()))
    {
        for (name, kind, description) in quota::HEADERS {
            response["headers"][name] = json!({
                "description": format!("For a tenant with a quota. {description}"),
                "schema": {"type": kind},
            });
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => unreachable!("the generated document has an object here, not {other}"),
    }
}

fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("the generated document has an object here")
}

#[cfg(test)]
mod tests;
