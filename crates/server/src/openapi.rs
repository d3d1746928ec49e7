//! The documents of the APIs, at hawkBit's addresses, and Swagger UI, which shows them without the internet. Nobody needs
//! to log in for them: they say what the program can do, and nothing of what it holds.

use std::sync::Arc;

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENTS: &str = "/v3/api-docs";
const UI: &str = "/swagger-ui";

/// A document by its API's title, as text: it is made once, when the server starts.
struct Group {
    title: String,
    text: Bytes,
}

/// Routes to each of the documents, to all in one, and to Swagger UI; none if there is no document.
pub fn routes<S: Clone + Send + Sync + 'static>(documents: Vec<Value>) -> anyhow::Result<Router<S>> {
    if documents.is_empty() {
        return Ok(Router::new());
    }
    let groups = documents.iter().map(Group::new).collect::<anyhow::Result<Vec<_>>>()?;
    let ui = Config::default().config_url(format!("..{DOCUMENTS}/swagger-config"));
    let list = text(&swagger_config(&groups))?;
    let whole = text(&whole(documents))?;
    let groups: Arc<[Group]> = groups.into();
    let documents = Router::new()
        .route(DOCUMENTS, get(async move || json_text(whole)))
        .route(&format!("{DOCUMENTS}/swagger-config"), get(async move || json_text(list)))
        .route(&format!("{DOCUMENTS}/{{group}}"), get(group).with_state(groups));
    Ok(documents.merge(SwaggerUi::new(UI).config(ui)))
}

async fn group(State(groups): State<Arc<[Group]>>, Path(title): Path<String>) -> Response {
    match groups.iter().find(|group| group.title == title) {
        Some(group) => json_text(group.text.clone()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Group {
    fn new(document: &Value) -> anyhow::Result<Group> {
        let title = document.pointer("/info/title").and_then(Value::as_str).context("a document without a title")?;
        Ok(Group { title: title.to_owned(), text: text(document)? })
    }

    fn address(&self) -> String {
        format!("{DOCUMENTS}/{}", self.title.replace(' ', "%20"))
    }
}

/// What Swagger UI is to show. It would ask a server of its makers for an opinion of a document, if none were named.
fn swagger_config(groups: &[Group]) -> Value {
    let urls: Vec<_> = groups.iter().map(|g| json!({ "url": g.address(), "name": g.title })).collect();
    json!({
        "configUrl": format!("{DOCUMENTS}/swagger-config"),
        "docExpansion": "none",
        "urls": urls,
        "validatorUrl": "none",
    })
}

/// One document of all. Their schemas have different names.
fn whole(documents: Vec<Value>) -> Value {
    let mut whole = json!({});
    let mut tags = Vec::new();
    for mut document in documents {
        if let Some(Value::Array(own)) = document.get_mut("tags").map(Value::take) {
            tags.extend(own);
        }
        kettle_rest::merge(&mut whole, document);
    }
    let about = "What is served over HTTP: the Management API and the Direct Device Integration API.";
    let info = json!({ "title": "Kettle", "description": about, "version": env!("CARGO_PKG_VERSION") });
    kettle_rest::merge(&mut whole, json!({ "info": info, "tags": tags }));
    whole
}

fn text(value: &Value) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(value).context("writing an OpenAPI document")?.into())
}

fn json_text(text: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
