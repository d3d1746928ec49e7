//! No room for an upload: the peer's error, nothing left behind, and smaller ones go on.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::harness::{Engine, Server, bytes_of, skip_visibly, stored_files};

#[tokio::test]
async fn a_full_disk_fails_the_upload_and_nothing_else() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let Some(disk) = SmallDisk::mount() else {
            return skip_visibly("the full disk", "a tmpfs cannot be mounted here (root only)");
        };
        let setting = format!("org.eclipse.hawkbit.artifact.fs.path={}", disk.0.path().display());
        let server = Server::start_with(engine, &[&setting]).await;
        let module = server.module("m").await;
        server.upload(module, "small.bin", b"abc").await.expect(201);
        let too_large = bytes_of(3_000_000, 7);
        let failed = server.upload(module, "large.bin", &too_large).await;
        failed.expect_error(500, "hawkbit.server.error.artifact.uploadFailed");
        let stored = stored_files(disk.0.path());
        assert_eq!(stored.len(), 1, "on {engine:?}: {stored:?}");
        let list = server.get(&format!("/rest/v1/softwaremodules/{module}/artifacts")).await;
        assert_eq!(list.expect(200).json().as_array().unwrap().len(), 1);
        server.upload(module, "fits.bin", &bytes_of(100_000, 8)).await.expect(201);
    }
}

/// One megabyte of tmpfs, unmounted with the value.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("kettle-disk-").tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path: PathBuf = self.0.path().to_owned();
        let _ = Command::new("umount").arg("-l").arg(path).status();
    }
}
