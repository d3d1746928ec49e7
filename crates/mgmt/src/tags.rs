//! A tag on the wire, of targets or of distribution sets. `{targetId}/tags` is in `targets.rs`.

use kettle_domain::tags;
use kettle_rest::Links;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::{Audit, audit_of};

/// A tag to create or to change. Unknown members are ignored.
#[derive(Deserialize, ToSchema)]
pub struct TagBody {
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 16)]
    colour: Option<String>,
}

impl From<TagBody> for tags::Edit {
    fn from(body: TagBody) -> tags::Edit {
        tags::Edit { name: body.name, description: body.description, colour: body.colour }
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tag {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    colour: Option<String>,
    #[serde(rename = "_links")]
    links: Links,
}

impl Tag {
    /// As in a list: with the link to itself only. `href` is its address.
    pub fn compact(tag: tags::Tag, href: String) -> Tag {
        Tag::new(tag, Links::this(href))
    }

    /// As on its own: with the link `assigned` to what has it.
    pub fn full(tag: tags::Tag, href: String, assigned: &'static str) -> Tag {
        let list = format!("{href}/assigned?offset=0&limit=50");
        Tag::new(tag, Links::this(href).with(assigned, list))
    }

    fn new(tag: tags::Tag, links: Links) -> Tag {
        Tag {
            audit: audit_of!(tag),
            name: tag.name,
            description: tag.description,
            id: tag.id,
            colour: tag.colour,
            links,
        }
    }
}
