//! What keeps this node from serving DMF now, by virtual host: for who asks whether it is ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// Shared with the tasks that find out.
#[derive(Clone, Debug, Default)]
pub struct State(Arc<Mutex<BTreeMap<String, String>>>);

impl State {
    /// Nothing is connected yet.
    pub(crate) fn begin(&self, virtual_host: &str) {
        self.is_wrong(virtual_host, "not connected yet".to_owned());
    }

    pub(crate) fn is_right(&self, virtual_host: &str) {
        self.hosts().remove(virtual_host);
    }

    pub(crate) fn is_wrong(&self, virtual_host: &str, what: String) {
        self.hosts().insert(virtual_host.to_owned(), what);
    }

    /// One line for each virtual host that is not served.
    pub fn wrong(&self) -> Vec<String> {
        self.hosts().iter().map(|(host, what)| format!("virtual host {host}: {what}")).collect()
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}
