//! What the OpenAPI document says of the device API as a whole.

use kettle_rest::{About, Tag};
use serde_json::json;

pub fn about() -> About {
    About {
        title: "Direct Device Integration API",
        description: "For devices: what to install, where to get it, and how it went.",
        prefix: "/{tenant}",
        requests: &["application/cbor"],
        answers: &["application/hal+json", "application/cbor"],
        tags: &[Tag {
            path: "/{tenant}/controller",
            name: "DDI Root Controller",
            description: "What devices poll, read, download and report.",
        }],
        security: json!({
            "Token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`TargetToken` or `GatewayToken`, a blank, and the token.",
            },
        }),
        bare: &[401, 404, 410],
    }
}
