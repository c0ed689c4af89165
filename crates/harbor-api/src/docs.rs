//! The page at `/docs`: the OpenAPI document for people, as one page of HTML without scripts.

use std::fmt::Write;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;

use crate::problem::Kind;

/// The page and the policy that it is served under.
pub(crate) struct Page {
    pub(crate) html: Bytes,
    /// Allows this page's own style and nothing else, from nowhere.
    pub(crate) security_policy: HeaderValue,
}

const STYLE: &str = include_str!("docs/style.css");

/// Makes the page from the document.
pub(crate) fn page(document: &Value) -> Page {
    let mut html = String::with_capacity(256 * 1024);
    write_page(&mut html, document).expect("writing to a text does not fail");
    let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page {
        html: Bytes::from(html),
        security_policy: HeaderValue::from_str(&policy).expect("the policy is ASCII"),
    }
}

fn write_page(html: &mut String, document: &Value) -> std::fmt::Result {
    let info = &document["info"];
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} API</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        title = escape(text(&info["title"])),
    )?;
    write_navigation(html, document)?;
    write!(
        html,
        "<main>\n<h1>{} API <small>{}</small></h1>\n{}\n\
         <p>The same for programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI {}).</p>\n",
        escape(text(&info["title"])),
        escape(text(&info["version"])),
        prose(text(&info["description"])),
        escape(text(&document["openapi"])),
    )?;
    for tag in items(&document["tags"]) {
        write_tag(html, document, tag)?;
    }
    write_schemas(html, document)?;
    write_problems(html)?;
    html.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_navigation(html: &mut String, document: &Value) -> std::fmt::Result {
    html.push_str("<nav>\n<ul>\n");
    for tag in items(&document["tags"]) {
        let name = text(&tag["name"]);
        writeln!(html, "<li><a href=\"#{}\">{}</a><ul>", slug(name), escape(name))?;
        for operation in operations(document, name) {
            let id = operation.id();
            writeln!(html, "<li><a href=\"#{id}\">{}</a></li>", escape(&id.replace('_', " ")))?;
        }
        html.push_str("</ul></li>\n");
    }
    html.push_str(
        "<li><a href=\"#schemas\">Schemas</a></li>\n<li><a href=\"#problems\">Problems</a></li>\n</ul>\n</nav>\n",
    );
    Ok(())
}

/// An operation with where it is found.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        text(&self.value["operationId"])
    }
}

/// The operations of one tag. Those for the credential's own tenant are told beside their twins.
fn operations<'a>(document: &'a Value, tag: &str) -> Vec<Operation<'a>> {
    let mut found = Vec::new();
    for (path, methods) in fields(&document["paths"]) {
        for (method, value) in fields(methods) {
            let operation = Operation { method, path, value };
            if value["tags"][0] == tag && !operation.id().ends_with("_of_own_tenant") {
                found.push(operation);
            }
        }
    }
    found
}

fn write_tag(html: &mut String, document: &Value, tag: &Value) -> std::fmt::Result {
    let name = text(&tag["name"]);
    writeln!(html, "<section>\n<h2 id=\"{}\">{}</h2>", slug(name), escape(name))?;
    writeln!(html, "{}", prose(text(&tag["description"])))?;
    for operation in operations(document, name) {
        write_operation(html, &operation)?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_operation(html: &mut String, operation: &Operation<'_>) -> std::fmt::Result {
    let Operation { method, path, value } = operation;
    writeln!(
        html,
        "<article id=\"{}\">\n<h3><code class=\"method {method}\">{}</code> <code>{}</code></h3>",
        operation.id(),
        method.to_uppercase(),
        escape(path),
    )?;
    if let Some(rest) = path.strip_prefix("/v1/tenants/{tenant_id}/") {
        writeln!(
            html,
            "<p class=\"twin\">For the tenant of the credential: <code>/v1/{}</code></p>",
            escape(rest)
        )?;
    }
    writeln!(html, "{}", prose(text(&value["summary"])))?;
    if let Some(description) = value["description"].as_str() {
        writeln!(html, "{}", prose(description))?;
    }
    write_parameters(html, &value["parameters"])?;
    for (media_type, content) in fields(&value["requestBody"]["content"]).take(1) {
        writeln!(html, "<p>Body (<code>{}</code>): {}</p>", escape(media_type), type_of(&content["schema"]))?;
    }
    html.push_str("<table>\n<tr><th>Answer</th><th></th><th>Body</th></tr>\n");
    for (status, response) in fields(&value["responses"]) {
        let schema = fields(&response["content"]).next().map(|(_, content)| type_of(&content["schema"]));
        writeln!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(status),
            inline(text(&response["description"])),
            schema.unwrap_or_default(),
        )?;
    }
    html.push_str("</table>\n</article>\n");
    Ok(())
}

fn write_parameters(html: &mut String, parameters: &Value) -> std::fmt::Result {
    if items(parameters).next().is_none() {
        return Ok(());
    }
    html.push_str("<table>\n<tr><th>Parameter</th><th>In</th><th></th></tr>\n");
    for parameter in items(parameters) {
        writeln!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            inline(text(&parameter["description"])),
        )?;
    }
    html.push_str("</table>\n");
    Ok(())
}

fn write_schemas(html: &mut String, document: &Value) -> std::fmt::Result {
    html.push_str("<section>\n<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in fields(&document["components"]["schemas"]) {
        writeln!(html, "<article id=\"schema-{0}\">\n<h3>{0}</h3>", escape(name))?;
        writeln!(html, "{}", prose(text(&schema["description"])))?;
        write_schema(html, schema)?;
        html.push_str("</article>\n");
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_schema(html: &mut String, schema: &Value) -> std::fmt::Result {
    // A struct that contains another is written as both, one after the other.
    for part in items(&schema["allOf"]) {
        if part["$ref"].is_string() {
            writeln!(html, "<p>All of {}, and:</p>", type_of(part))?;
        } else {
            write_schema(html, part)?;
        }
    }
    if items(&schema["enum"]).next().is_some() || items(&schema["oneOf"]).next().is_some() {
        writeln!(html, "<p>{}</p>", type_of(schema))?;
    }
    if fields(&schema["properties"]).next().is_some() {
        let required: Vec<_> = items(&schema["required"]).map(text).collect();
        html.push_str("<table>\n<tr><th>Field</th><th>Type</th><th></th></tr>\n");
        for (name, property) in fields(&schema["properties"]) {
            let mark = if required.contains(&name.as_str()) { " <em>required</em>" } else { "" };
            writeln!(
                html,
                "<tr><td><code>{}</code>{mark}</td><td>{}</td><td>{}</td></tr>",
                escape(name),
                type_of(property),
                inline(text(&property["description"])),
            )?;
        }
        html.push_str("</table>\n");
    }
    if !schema["example"].is_null() {
        let example = serde_json::to_string_pretty(&schema["example"]).unwrap_or_default();
        writeln!(html, "<pre>{}</pre>", escape(&example))?;
    }
    Ok(())
}

fn write_problems(html: &mut String) -> std::fmt::Result {
    html.push_str(
        "<section>\n<h2 id=\"problems\">Problems</h2>\n\
         <table>\n<tr><th>Code</th><th>Status</th><th></th></tr>\n",
    );
    for kind in Kind::ALL {
        writeln!(
            html,
            "<tr id=\"problem-{0}\"><td><code>{0}</code></td><td>{1}</td><td>{2}</td></tr>",
            kind.code(),
            kind.status().as_u16(),
            inline(kind.title()),
        )?;
    }
    html.push_str("</table>\n</section>\n");
    Ok(())
}

/// A type in a few words, with links to those that have a name.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escape(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        let parts: Vec<_> = items(&schema[key]).map(type_of).collect();
        if !parts.is_empty() {
            return parts.join(" or ");
        }
    }
    let words: Vec<_> =
        items(&schema["enum"]).map(|word| format!("<code>{}</code>", escape(&word.to_string()))).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let named: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let shown = named.iter().map(|name| match *name {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", type_of(&schema["additionalProperties"]))
        }
        "" => "any JSON".to_owned(),
        name => escape(name),
    });
    shown.collect::<Vec<_>>().join(" or ")
}

/// Paragraphs of text with code between backticks.
fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>", inline(paragraph))).collect()
}

/// Text with code between backticks.
fn inline(text: &str) -> String {
    let part = |(n, part): (usize, &str)| {
        let part = escape(part);
        if n % 2 == 1 { format!("<code>{part}</code>") } else { part }
    };
    text.split('`').enumerate().map(part).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn slug(name: &str) -> String {
    name.replace(' ', "-")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_all_and_asks_nobody() {
        let document = crate::openapi::document();
        let page = page(&document);
        let html = std::str::from_utf8(&page.html).unwrap();
        for tag in items(&document["tags"]) {
            for operation in operations(&document, text(&tag["name"])) {
                assert!(html.contains(&format!("<article id=\"{}\">", operation.id())), "{}", operation.id());
            }
        }
        for kind in Kind::ALL {
            assert!(html.contains(&format!("id=\"problem-{}\"", kind.code())), "{kind:?}");
        }
        for foreign in ["<script", "src=", "http://", "url(", "@import"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert_eq!(html.matches("<article").count(), html.matches("</article>").count());
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(inline("a `<b>` & \"c\""), "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;");
    }
}
