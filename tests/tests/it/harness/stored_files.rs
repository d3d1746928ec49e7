//! What lies in a server's data folder apart from its database, to see that nothing is left behind.

use std::path::{Path, PathBuf};

/// All files below `folder`, sorted, without SQLite's own.
pub fn stored_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !is_database(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_database(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    ["db", "db-wal", "db-shm", "db-journal"].iter().any(|end| name.ends_with(&format!(".{end}")))
}
