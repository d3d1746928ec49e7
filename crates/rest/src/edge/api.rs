//! Which of the server's parts a path belongs to, as the peer's filter chains divide it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Management,
    Device,
    /// A file for a device, or its sum.
    Download,
    /// A file by its download id, which is the only login.
    DownloadId,
    /// None of hawkBit's.
    Other,
}

const DOWNLOAD_ID: &str = "/api/v1/downloadserver/downloadId/";

impl Api {
    pub(super) fn of(path: &str) -> Api {
        if path.starts_with(DOWNLOAD_ID) {
            return Api::DownloadId;
        }
        if path == "/rest" || path.starts_with("/rest/") || matches!(path, "/session" | "/session/all") {
            return Api::Management;
        }
        let Some((_, _, below)) = device(path) else { return Api::Other };
        match artifacts(below) {
            Some(file) if !file.is_empty() && !file.contains('/') => Api::Download,
            _ => Api::Device,
        }
    }
}

/// What hawkBit's older releases had for whoever runs the server. Nothing is there, and its limits are.
pub(super) fn is_system(path: &str) -> bool {
    path == "/system" || path.starts_with("/system/")
}

/// Tenant, controllerId and the rest of `/{tenant}/controller/v1/{controllerId}/…`, as written.
pub(super) fn device(path: &str) -> Option<(&str, &str, &str)> {
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    let rest = rest.strip_prefix("controller/v1")?;
    if tenant.is_empty() || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (controller_id, below) = rest.split_once('/').unwrap_or((rest, ""));
    Some((tenant, controller_id, below))
}

/// What follows `softwaremodules/{id}/artifacts/`; empty for the list itself.
pub(super) fn artifacts(below: &str) -> Option<&str> {
    let (_, rest) = below.strip_prefix("softwaremodules/")?.split_once('/')?;
    let rest = rest.strip_prefix("artifacts")?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_one_part() {
        for (path, expected) in [
            ("/rest", Api::Management),
            ("/rest/v1/targets", Api::Management),
            ("/api/v1/downloadserver/downloadId/T/x", Api::DownloadId),
            ("/api/v1/downloadserver", Api::Other),
            ("/restful", Api::Other),
            ("/", Api::Other),
            ("/health/ready", Api::Other),
            ("/DEFAULT/controller/v1", Api::Device),
            ("/DEFAULT/controller/v1/d1", Api::Device),
            ("/DEFAULT/controller/v10/d1", Api::Other),
            ("//controller/v1/d1", Api::Other),
            ("/DEFAULT/controller/v1/d1/softwaremodules/3/artifacts", Api::Device),
            ("/DEFAULT/controller/v1/d1/softwaremodules/3/artifacts/a.bin", Api::Download),
            ("/DEFAULT/controller/v1/d1/softwaremodules/3/artifacts/a.bin.MD5SUM", Api::Download),
            ("/DEFAULT/controller/v1/d1/softwaremodules/3/artifacts/a/b", Api::Device),
        ] {
            assert_eq!(Api::of(path), expected, "{path}");
        }
        assert_eq!(device("/T/controller/v1/d%201/configData"), Some(("T", "d%201", "configData")));
        assert_eq!(device("/T/controller/v1"), Some(("T", "", "")));
    }
}
