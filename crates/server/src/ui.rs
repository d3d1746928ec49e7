//! The page at `/`, until the web UI exists.

use axum::{Router, response::Html, routing::get};

pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(async || Html(include_str!("placeholder.html"))))
}
