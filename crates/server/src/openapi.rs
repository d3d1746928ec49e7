//! The documents of the APIs, at hawkBit's addresses, and Swagger UI, which shows them without the internet. Nobody needs
//! to log in for them: they say what the program can do, and nothing of what it holds.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use kettle_domain::Error;
use kettle_rest::{About, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::config;

const DOCUMENTS: &str = "/v3/api-docs";
const UI: &str = "/swagger-ui";

/// What an API says of its handlers and of itself.
type Api = (fn() -> OpenApi, fn() -> About);

const MANAGEMENT: Api = (|| kettle_mgmt::routes().into_openapi(), kettle_mgmt::about);
const DEVICE: Api = (|| kettle_ddi::routes().into_openapi(), kettle_ddi::about);

/// The documents as text. They are made when somebody asks first: making them takes megabytes that a node which nobody
/// asks can do without.
struct Documents {
    apis: Vec<Api>,
    texts: OnceCell<Texts>,
}

struct Texts {
    groups: Vec<Group>,
    list: Bytes,
    whole: Bytes,
}

/// One API's document, by its title.
struct Group {
    title: &'static str,
    text: Bytes,
}

/// Routes to the document of each API, to all in one, and to Swagger UI; none if there is no document.
pub fn routes<S: Clone + Send + Sync + 'static>(enabled: config::OpenApi) -> Router<S> {
    let apis = [(enabled.mgmt, MANAGEMENT), (enabled.ddi, DEVICE)];
    let apis: Vec<_> = apis.into_iter().filter_map(|(enabled, api)| enabled.then_some(api)).collect();
    if apis.is_empty() {
        return Router::new();
    }
    let documents = Router::new()
        .route(DOCUMENTS, get(whole))
        .route(&format!("{DOCUMENTS}/swagger-config"), get(list))
        .route(&format!("{DOCUMENTS}/{{group}}"), get(group))
        .with_state(Arc::new(Documents { apis, texts: OnceCell::new() }));
    // Relative, so that it holds behind a proxy that adds a prefix.
    let ui = Config::default().config_url(format!("..{DOCUMENTS}/swagger-config"));
    documents.merge(SwaggerUi::new(UI).config(ui))
}

async fn whole(State(documents): State<Arc<Documents>>) -> Result<Response> {
    Ok(json_text(&documents.texts().await?.whole))
}

async fn list(State(documents): State<Arc<Documents>>) -> Result<Response> {
    Ok(json_text(&documents.texts().await?.list))
}

async fn group(State(documents): State<Arc<Documents>>, Path(title): Path<String>) -> Result<Response> {
    let found = documents.texts().await?.groups.iter().find(|group| group.title == title);
    Ok(found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |group| json_text(&group.text)))
}

impl Documents {
    async fn texts(&self) -> Result<&Texts> {
        Ok(self.texts.get_or_try_init(async || write(&self.apis).map_err(Error::internal)).await?)
    }
}

fn write(apis: &[Api]) -> serde_json::Result<Texts> {
    let (mut groups, mut documents) = (Vec::new(), Vec::new());
    for (handlers, about) in apis {
        let document = kettle_rest::document(&handlers(), &about())?;
        groups.push(Group { title: about().title, text: text(&document)? });
        documents.push(document);
    }
    Ok(Texts { list: text(&swagger_config(&groups))?, groups, whole: text(&in_one(documents))? })
}

impl Group {
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
fn in_one(documents: Vec<Value>) -> Value {
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

fn text(value: &Value) -> serde_json::Result<Bytes> {
    Ok(serde_json::to_vec(value)?.into())
}

fn json_text(text: &Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], text.clone()).into_response()
}
