//! Links and lists as the peer writes them.

use std::borrow::Cow;

use kettle_domain::Page;
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Link {
    pub href: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `_links`: relation to link, in the order they were added; of several with one relation, a list. Omit it when empty:
/// `#[serde(rename = "_links", skip_serializing_if = "Links::is_empty")]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, Link>)]
pub struct Links(Vec<(Cow<'static, str>, Link)>);

/// A link where the peer writes a list, `"links": [{"rel", "href"}]`, instead of HAL's map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListedLink {
    #[schema(value_type = String)]
    pub rel: Cow<'static, str>,
    pub href: String,
}

impl Links {
    pub fn new() -> Links {
        Links::default()
    }

    /// Only `self`.
    pub fn this(href: impl Into<String>) -> Links {
        Links::new().with("self", href)
    }

    #[must_use]
    pub fn with(mut self, rel: impl Into<Cow<'static, str>>, href: impl Into<String>) -> Links {
        self.0.push((rel.into(), Link { href: href.into(), name: None }));
        self
    }

    /// A link that also names what it leads to.
    #[must_use]
    pub fn with_name(
        mut self,
        rel: impl Into<Cow<'static, str>>,
        href: impl Into<String>,
        name: impl Into<String>,
    ) -> Links {
        self.0.push((rel.into(), Link { href: href.into(), name: Some(name.into()) }));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn listed(self) -> Vec<ListedLink> {
        self.0.into_iter().map(|(rel, link)| ListedLink { rel, href: link.href }).collect()
    }
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |rel| self.0.iter().filter(move |(other, _)| other == rel).map(|(_, link)| link);
        let first = |at: usize, rel| !self.0.iter().take(at).any(|(other, _)| other == rel);
        let names = || self.0.iter().enumerate().filter(|(at, (rel, _))| first(*at, rel)).map(|(_, (rel, _))| rel);
        let mut map = serializer.serialize_map(Some(names().count()))?;
        for rel in names() {
            let mut links = of(rel);
            match (links.next(), links.next()) {
                (Some(only), None) => map.serialize_entry(rel, only)?,
                _ => map.serialize_entry(rel, &of(rel).collect::<Vec<_>>())?,
            }
        }
        map.end()
    }
}

/// A list: `total` over all pages, `size` on this one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    pub content: Vec<T>,
    pub total: u64,
    pub size: usize,
}

impl<T> Paged<T> {
    /// A list without pages.
    pub fn all(content: Vec<T>) -> Paged<T> {
        Paged { total: content.len() as u64, size: content.len(), content }
    }
}

impl<T> From<Page<T>> for Paged<T> {
    fn from(page: Page<T>) -> Paged<T> {
        Paged { size: page.content.len(), total: page.total, content: page.content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_their_order_and_omit_what_is_absent() {
        let links = Links::this("http://h/a").with_name("type", "http://h/t", "os").with("metadata", "http://h/m");
        assert_eq!(
            serde_json::to_string(&links).unwrap(),
            r#"{"self":{"href":"http://h/a"},"type":{"href":"http://h/t","name":"os"},"metadata":{"href":"http://h/m"}}"#
        );
        assert_eq!(
            serde_json::to_string(&Links::this("http://h/a").listed()).unwrap(),
            r#"[{"rel":"self","href":"http://h/a"}]"#
        );
    }

    #[test]
    fn links_of_one_relation_are_a_list() {
        let links = Links::this("http://h/a").with("b", "http://h/1").with("c", "http://h/c").with("b", "http://h/2");
        assert_eq!(
            serde_json::to_string(&links).unwrap(),
            r#"{"self":{"href":"http://h/a"},"b":[{"href":"http://h/1"},{"href":"http://h/2"}],"c":{"href":"http://h/c"}}"#
        );
    }

    #[test]
    fn a_page_counts_itself_and_all() {
        let page = Page { content: vec![1, 2], total: 7 };
        let text = serde_json::to_string(&Paged::from(page)).unwrap();
        assert_eq!(text, r#"{"content":[1,2],"total":7,"size":2}"#);
    }
}
