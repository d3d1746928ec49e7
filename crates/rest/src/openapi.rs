//! The OpenAPI document of an API: what its handlers say of themselves, completed with what holds for all of them.
//!
//! A handler names its path, parameters, body and the answers that are its own. Added here, once, by the shape of an
//! operation: its id and tag, other media types, path parameters, and the errors that any such operation may answer. An
//! error that a handler describes itself stays as it says; one that it only names gets the body that errors have.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema,
    openapi::{Object, ObjectBuilder, OpenApi, Type},
};

use crate::error::{ExceptionInfo, PlainError};

/// What is said of an API as a whole.
pub struct About {
    pub title: &'static str,
    pub description: &'static str,
    /// What all paths start with; left out of operation ids.
    pub prefix: &'static str,
    /// The media types of bodies that clients send, and of answers.
    pub requests: &'static [&'static str],
    pub answers: &'static [&'static str],
    /// The first whose path an operation's path starts with is the operation's.
    pub tags: &'static [Tag],
    /// Security schemes by name; each is enough by itself.
    pub security: Value,
    /// Errors that this API answers without a body, always or sometimes.
    pub bare: &'static [u16],
}

/// A group of operations.
pub struct Tag {
    pub path: &'static str,
    pub name: &'static str,
    pub description: &'static str,
}

const JSON: &str = "application/json";
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Status, name among the document's responses, what it means.
const ERRORS: &[(u16, &str, &str)] = &[
    (304, "NotModified", "What the client has, by its If-None-Match, is what it would get."),
    (400, "BadRequest", "The request can't be read, or asks for what can't be."),
    (401, "Unauthorized", "The caller did not prove who it is."),
    (403, "Forbidden", "The caller may not do this."),
    (404, "NotFound", "There is no such thing."),
    (405, "NotAllowed", "What this is in can't be changed so."),
    (406, "NotAcceptable", "The client takes none of the media types there are."),
    (409, "Conflict", "There is one already, or it was changed by someone else."),
    (410, "Gone", "It was there, and is no more."),
    (413, "TooLarge", "The body is larger than the server takes."),
    (415, "UnsupportedMediaType", "The body has a media type that is not taken here."),
    (416, "RangeNotSatisfiable", "The range lies behind the content's end."),
    (423, "Locked", "It is locked."),
    (429, "QuotaExceeded", "More than the quota allows, or too many requests or failed logins."),
    (500, "InternalError", "The server failed; its log says why."),
];

/// The finished document of an API, from what its handlers say.
pub fn document(handlers: &OpenApi, about: &About) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(handlers)?;
    let (mut sent, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in members(document.get_mut("paths")) {
        for method in METHODS {
            let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) else { continue };
            tags.extend(complete(method, path, operation, about));
            references(operation.get("requestBody"), &mut sent);
        }
    }
    let mut components = document.get_mut("components").map_or_else(|| json!({}), Value::take);
    close(components.get("schemas"), &mut sent);
    for (name, schema) in members(components.get_mut("schemas")) {
        if !sent.contains(name) {
            leave_out_nulls(schema);
        }
        // Derived for any entry, a page has its entries' schema written out.
        if let (Some(entry), Some(items)) =
            (name.strip_prefix("Paged_"), schema.pointer_mut("/properties/content/items"))
        {
            *items = reference(entry);
        }
    }
    let (info, plain) = (serde_json::to_value(ExceptionInfo::schema())?, serde_json::to_value(PlainError::schema())?);
    merge(&mut components, json!({ "schemas": { "ExceptionInfo": info, "PlainError": plain } }));
    merge(&mut components, json!({ "responses": errors(about), "securitySchemes": about.security }));
    let used = about.tags.iter().filter(|t| tags.contains(t.name));
    let tags: Vec<_> = used.map(|t| json!({ "name": t.name, "description": t.description })).collect();
    Ok(json!({
        "openapi": document.get("openapi"),
        "info": { "title": about.title, "description": about.description, "version": "v1" },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": document.get_mut("paths").map(Value::take),
        "components": components,
    }))
}

/// The schema of a text that is one of these: `#[schema(schema_with = …)]` of a member.
pub fn one_of(names: &[&'static str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())).build()
}

/// Adds the members of an object to those of another, objects in both member by member.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(known) => merge(known, value),
                    None => drop(into.insert(name, value)),
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// Completes an operation; the name of its tag.
fn complete(method: &str, path: &str, operation: &mut Map<String, Value>, about: &About) -> Option<&'static str> {
    operation.insert("operationId".into(), operation_id(method, path, about).into());
    let tag = about.tags.iter().find(|t| path.starts_with(t.path)).map(|t| t.name);
    operation.insert("tags".into(), tag.into_iter().collect());
    let schemes = about.security.as_object().into_iter().flat_map(Map::keys);
    operation.insert("security".into(), schemes.map(|name| json!({ name: [] })).collect());
    path_parameters(path, operation);

    let body = operation.get_mut("requestBody").and_then(|b| b.get_mut("content"));
    let has_body = body.is_some();
    other_media_types(body, about.requests);
    let mut statuses = vec![400, 401, 403, 429, 500];
    statuses.push(if method == "get" { 304 } else { 409 });
    if path.contains('{') || method != "get" {
        statuses.push(404);
    }
    if has_body {
        statuses.extend([413, 415]);
    }
    let mut answers = Map::new();
    for (status, mut answer) in members(operation.get_mut("responses")).map(|(s, a)| (s.clone(), a.take())) {
        let code = status.parse().unwrap_or_default();
        let described = answer.get("description").is_some_and(|d| d != "");
        if code >= 400 && described {
            statuses.retain(|s| *s != code);
        } else if code >= 400 {
            statuses.push(code);
            continue;
        }
        if !described {
            merge(&mut answer, json!({ "description": if code == 201 { "Created" } else { "Done" } }));
        }
        if other_media_types(answer.get_mut("content"), about.answers) {
            statuses.push(406);
        }
        answers.insert(status, answer);
    }
    statuses.sort_unstable();
    for (status, name, _) in ERRORS.iter().filter(|(status, ..)| statuses.contains(status)) {
        answers.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
    }
    operation.insert("responses".into(), answers.into());
    tag
}

/// `GET /rest/v1/targets/{targetId}/tags` is `getTargetsByTargetIdTags`: each is another's only if its path is.
fn operation_id(method: &str, path: &str, about: &About) -> String {
    let mut id = method.to_owned();
    for segment in path.strip_prefix(about.prefix).unwrap_or(path).split('/') {
        let (by, name) = match segment.strip_prefix('{') {
            Some(placeholder) => ("By", placeholder),
            None => ("", segment),
        };
        let mut letters = name.chars().filter(char::is_ascii_alphanumeric);
        id.push_str(by);
        id.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        id.extend(letters);
    }
    id
}

/// Placeholders that no argument of the handler is for hold texts.
fn path_parameters(path: &str, operation: &mut Map<String, Value>) {
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(parameters) = parameters.as_array_mut() else { return };
    for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        if !parameters.iter().any(|p| p.get("name").is_some_and(|n| n == name)) {
            parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
    }
}

/// Offers a JSON content in the API's other media types too; whether it is one.
fn other_media_types(content: Option<&mut Value>, types: &[&str]) -> bool {
    let Some(content) = content.and_then(Value::as_object_mut) else { return false };
    let Some(json) = content.get(JSON).cloned() else { return false };
    content.extend(types.iter().map(|t| ((*t).to_owned(), json.clone())));
    true
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn errors(about: &About) -> Value {
    let either = json!({ "anyOf": [reference("ExceptionInfo"), reference("PlainError")] });
    let error = |(status, name, description): &(u16, &str, &str)| {
        let schema = match status {
            304 | 406 | 416 => None,
            bare if about.bare.contains(bare) => None,
            401 => Some(reference("PlainError")),
            _ => Some(either.clone()),
        };
        let mut error = json!({ "description": description });
        if let Some(schema) = schema {
            merge(&mut error, json!({ "content": { JSON: { "schema": schema } } }));
        }
        ((*name).to_owned(), error)
    };
    ERRORS.iter().map(error).collect::<Map<_, _>>().into()
}

/// Answers leave out what has no value, and never say null for it.
fn leave_out_nulls(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            for (name, property) in members(object.get_mut("properties")) {
                if !required.iter().any(|r| r == name) {
                    without_null(property);
                }
            }
            object.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(array) => array.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    if let Some(types) = property.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|t| t != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            merge(property, json!({ "type": only }));
        }
    } else if let Some(choices) = property.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.retain(|c| c.get("type").is_none_or(|t| t != "null"));
        if let [only] = choices.as_mut_slice() {
            *property = only.take();
        }
    }
}

/// Adds the names of the schemas that are referred to.
fn references(value: Option<&Value>, names: &mut BTreeSet<String>) {
    match value {
        Some(Value::Object(object)) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
                names.insert(name.to_owned());
            }
            object.values().for_each(|v| references(Some(v), names));
        }
        Some(Value::Array(array)) => array.iter().for_each(|v| references(Some(v), names)),
        _ => {}
    }
}

/// Adds the schemas that those named refer to.
fn close(schemas: Option<&Value>, names: &mut BTreeSet<String>) {
    loop {
        let known = names.len();
        for name in names.clone() {
            references(schemas.and_then(|s| s.get(&name)), names);
        }
        if names.len() == known {
            return;
        }
    }
}

fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flat_map(Map::iter_mut)
}
