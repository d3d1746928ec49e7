//! The folder of artifacts, in hawkBit's layout: `<path>/<TENANT>/<sha1[36..38]>/<sha1[38..40]>/<sha1>`.
//!
//! `<path>/.uploads` holds what is under way, and is empty otherwise. `<uuid>.part` is an upload not yet complete, locked
//! by the process that writes it, so that others can tell which parts nobody writes any more. `<uuid>.check` is a marker:
//! the content it names may be there without a row that needs it, or soon will be (see `mod.rs`). A marker is not synced
//! to the disk: when the power fails it may be lost, and at worst a file stays that nobody asks for.
//!
//! Everything here blocks; callers keep it off the async threads.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use uuid::Uuid;

const UPLOADS: &str = ".uploads";
const PART: &str = "part";
const CHECK: &str = "check";

/// The artifacts of one node's folder, which several nodes may share.
#[derive(Debug)]
pub struct Storage {
    root: PathBuf,
    uploads: PathBuf,
}

/// An upload under way; its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    pub file: File,
}

/// A note that survives a crash: whether this content is needed has to be checked.
#[derive(Debug)]
pub(super) struct Marker {
    path: PathBuf,
    pub tenant: String,
    pub sha1: String,
}

impl Storage {
    /// Opens the folder, and creates it when missing.
    pub fn open(path: PathBuf) -> io::Result<Storage> {
        let uploads = path.join(UPLOADS);
        fs::create_dir_all(&uploads)?;
        Ok(Storage { root: path, uploads })
    }

    /// Where content is. A tenant that is no plain folder name has none.
    pub(super) fn path(&self, tenant: &str, sha1: &str) -> io::Result<PathBuf> {
        let plain = !tenant.is_empty() && !tenant.starts_with('.') && !tenant.contains(['/', '\\', '\0', ':']);
        let (Some(first), Some(second)) = (sha1.get(36..38), sha1.get(38..40)) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("{sha1} is no SHA-1")));
        };
        if !plain || sha1.len() != 40 || !sha1.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("no place for {sha1} of tenant {tenant}")));
        }
        Ok(self.root.join(tenant).join(first).join(second).join(sha1))
    }

    pub(super) fn new_part(&self) -> io::Result<Part> {
        loop {
            let path = self.uploads.join(format!("{}.{PART}", Uuid::new_v4().simple()));
            let part = Part { file: File::create_new(&path)?, path };
            if let Err(error) = part.file.lock() {
                tracing::warn!(%error, "the artifact folder has no file locks; remains of killed nodes stay in it");
                return Ok(part);
            }
            // Another node's sweep may have come between the creation and the lock, and taken the part for a dead one.
            if part.path.exists() {
                return Ok(part);
            }
        }
    }

    /// Makes a part, synced to the disk already, the content of its hash; what was there is the same, and replaced. When
    /// this returns, the content survives a failure of the power.
    pub(super) fn place(&self, part: &Part, tenant: &str, sha1: &str) -> io::Result<()> {
        let path = self.path(tenant, sha1)?;
        let folder = path.parent().unwrap_or(&self.root);
        self.create_folders(folder)?;
        fs::rename(&part.path, &path)?;
        sync_folder(folder)
    }

    /// Removes content; that it is not there is no error.
    pub(super) fn remove(&self, tenant: &str, sha1: &str) -> io::Result<()> {
        gone(fs::remove_file(self.path(tenant, sha1)?))
    }

    pub(super) fn mark(&self, tenant: &str, sha1: &str) -> io::Result<Marker> {
        let path = self.uploads.join(format!("{}.{CHECK}", Uuid::new_v4().simple()));
        let marker = Marker { path, tenant: tenant.into(), sha1: sha1.into() };
        File::create_new(&marker.path)?.write_all(format!("{sha1}\n{tenant}").as_bytes())?;
        Ok(marker)
    }

    /// Removes what dead processes left of uploads, and returns the markers that there are, of living ones too.
    pub(super) fn sweep(&self) -> io::Result<Vec<Marker>> {
        let mut markers = Vec::new();
        for entry in fs::read_dir(&self.uploads)? {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some(PART) => remove_dead(&path)?,
                Some(CHECK) => markers.extend(read_marker(path)?),
                _ => {}
            }
        }
        Ok(markers)
    }

    /// Creates the folders below the root that are missing, each safe on the disk.
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let Some(parent) = folder.parent().filter(|p| p.starts_with(&self.root)) else {
            return fs::create_dir_all(folder);
        };
        self.create_folders(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_folder(parent),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is content, nothing has this name any more.
        if let Err(error) = gone(fs::remove_file(&self.path)) {
            tracing::warn!(%error, path = %self.path.display(), "could not remove an unfinished upload");
        }
    }
}

impl Marker {
    /// Takes the note away; one that is gone already is no error.
    pub fn clear(&self) -> io::Result<()> {
        gone(fs::remove_file(&self.path))
    }
}

/// A marker that was cut off while it was written comes before any content: it is removed, and none.
fn read_marker(path: PathBuf) -> io::Result<Option<Marker>> {
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    match text.split_once('\n') {
        Some((sha1, tenant)) if sha1.len() == 40 && !tenant.is_empty() => {
            Ok(Some(Marker { tenant: tenant.into(), sha1: sha1.into(), path }))
        }
        _ => gone(fs::remove_file(path)).map(|()| None),
    }
}

/// Removes a part that no process writes. Where locks can't be tested, all count as alive.
fn remove_dead(part: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(part) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {
            tracing::info!(upload = %part.display(), "removing what a stopped node left of an upload");
            gone(fs::remove_file(part))
        }
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, "the artifact folder has no file locks; remains of killed nodes stay in it");
            Ok(())
        }
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "33e2a1918af3a4127b5a02cbfa7703061b52dc28";

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            Folder(std::env::temp_dir().join(format!("kettle-storage-{}", Uuid::new_v4().simple())))
        }

        fn uploads(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.join(UPLOADS)).unwrap();
            let mut kinds: Vec<_> =
                entries.map(|e| e.unwrap().path().extension().unwrap().to_str().unwrap().to_owned()).collect();
            kinds.sort();
            kinds
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn content_lies_where_the_peer_has_it_and_no_tenant_leaves_the_folder() {
        let folder = Folder::new();
        let storage = Storage::open(folder.0.clone()).unwrap();
        assert_eq!(storage.path("DEFAULT", SHA1).unwrap(), folder.0.join(format!("DEFAULT/dc/28/{SHA1}")));
        for tenant in ["", "..", ".UPLOADS", "A/B", "A\\B"] {
            assert!(storage.path(tenant, SHA1).is_err(), "{tenant}");
        }
        for sha1 in ["", "33", &SHA1.replace("33e", "../"), &"é".repeat(20)] {
            assert!(storage.path("DEFAULT", sha1).is_err(), "{sha1}");
        }
    }

    #[test]
    fn a_part_becomes_content_or_leaves_nothing() {
        let folder = Folder::new();
        let storage = Storage::open(folder.0.clone()).unwrap();
        for content in ["first", "again"] {
            let mut part = storage.new_part().unwrap();
            part.file.write_all(content.as_bytes()).unwrap();
            storage.place(&part, "DEFAULT", SHA1).unwrap();
            drop(part);
            assert_eq!(fs::read_to_string(storage.path("DEFAULT", SHA1).unwrap()).unwrap(), content);
        }
        drop(storage.new_part().unwrap());
        assert!(folder.uploads().is_empty());
        storage.remove("DEFAULT", SHA1).unwrap();
        storage.remove("DEFAULT", SHA1).unwrap();
        assert!(!storage.path("DEFAULT", SHA1).unwrap().exists());
    }

    #[test]
    fn a_sweep_removes_the_parts_of_dead_processes_alone() {
        let folder = Folder::new();
        let storage = Storage::open(folder.0.clone()).unwrap();
        // A killed process runs no destructors, but the kernel closes its files, and with them their locks.
        let dead = storage.new_part().unwrap();
        dead.file.unlock().unwrap();
        std::mem::forget(dead);
        std::mem::forget(storage.mark("DEFAULT", SHA1).unwrap());
        let alive = storage.new_part().unwrap();
        drop(File::create_new(folder.0.join(UPLOADS).join("cut-off.check")).unwrap());
        let markers = Storage::open(folder.0.clone()).unwrap().sweep().unwrap();
        assert_eq!(folder.uploads(), ["check", "part"]);
        let found: Vec<_> = markers.iter().map(|m| (m.tenant.as_str(), m.sha1.as_str())).collect();
        assert_eq!(found, [("DEFAULT", SHA1)]);
        markers.iter().for_each(|m| m.clear().unwrap());
        drop(alive);
        assert!(folder.uploads().is_empty());
    }
}
