//! The filters of a tenant that assign a set, ready to be matched: kept per node, dropped by the events of a change.

use std::{borrow::Cow, sync::Arc, time::Duration};

use kettle_ql::{Macros, Node, Search};

use super::{Model, store};
use crate::{
    cached::Cached,
    ctx::{Ctx, Tenant},
    error::Result,
    search, targets,
};

const CACHED_TENANTS: u64 = 10_000;
const SHARDS: usize = 64;

/// A filter that assigns a set.
pub(super) struct Assigning {
    pub filter: i64,
    pub name: String,
    /// Its result depends on the time that it is asked at: targets come to match without being changed.
    pub timed: bool,
    query: Node,
    /// Whether the query holds a macro: then `search` is as of the time of compilation.
    macros: bool,
    search: Search,
}

impl Assigning {
    /// `None`, and a warning, for a query that another version has stored and this one can't read.
    fn compile(tenant: &Tenant, filter: Model, now: &Macros) -> Option<Assigning> {
        let compiled = kettle_ql::parse(&filter.query).map_err(crate::Error::from).and_then(|query| {
            let search = Search::new(&query, &targets::fields::ENTITY, now)?;
            Ok((query, search))
        });
        let (query, search) = match compiled {
            Ok(compiled) => compiled,
            Err(error) => {
                tracing::warn!(
                    tenant = tenant.id(),
                    filter.id,
                    filter.name,
                    %error,
                    "a target filter assigns nothing: its query can't be read"
                );
                return None;
            }
        };
        let macros = filter.query.contains("${");
        let timed = macros || search.fields().iter().any(|field| field.name == "lastcontrollerrequestat");
        Some(Assigning { filter: filter.id, name: filter.name, timed, query, macros, search })
    }

    /// The search as of now.
    pub fn search(&self, now: &Macros) -> Result<Cow<'_, Search>> {
        match self.macros {
            true => Ok(Cow::Owned(Search::new(&self.query, &targets::fields::ENTITY, now)?)),
            false => Ok(Cow::Borrowed(&self.search)),
        }
    }

    /// Whether the query names this field, or a part of what it refers to.
    pub fn asks_about(&self, field: &str) -> bool {
        let names = |name: &str| name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.search.fields().iter().any(|known| names(known.name))
    }
}

/// The lists of the tenants that this node has to do with.
pub(super) struct AssigningCache(Cached<Tenant, Arc<Vec<Assigning>>>);

impl AssigningCache {
    /// With a time to live of zero, nothing is kept.
    pub fn new(ttl: Duration) -> AssigningCache {
        AssigningCache(Cached::new(if ttl.is_zero() { 0 } else { CACHED_TENANTS }, ttl, SHARDS))
    }

    /// Whether no filter of the tenant assigns anything, as far as this node knows without asking.
    pub fn is_known_to_be_empty(&self, tenant: &Tenant) -> bool {
        self.0.get(tenant).is_some_and(|list| list.is_empty())
    }

    pub fn drop_tenant(&self, tenant: &Tenant) {
        self.0.drop_one(tenant);
    }

    pub fn drop_all(&self) {
        self.0.drop_all();
    }
}

/// The filters of the tenant that assign a set, in the order of their ids.
pub(super) async fn of_tenant(ctx: &Ctx) -> Result<Arc<Vec<Assigning>>> {
    let services = ctx.services();
    let read = async || {
        let rows = store::assigning(ctx.db().read(), ctx.tenant_id()).await?;
        let now = search::macros(ctx).await?;
        let list = rows.into_iter().filter_map(|filter| Assigning::compile(&ctx.tenant, filter, &now));
        Ok(Arc::new(list.collect()))
    };
    services.auto_assign.assigning.0.get_or_read(&services.events, &ctx.tenant, read).await
}
