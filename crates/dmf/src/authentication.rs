//! Requests for download ids over AMQP and the replies to them, as hawkBit's older releases had them. Knows the bodies, not
//! the queue.

use std::{collections::HashMap, sync::Arc};

use kettle_domain::{
    Services,
    download_ids::{self, Named, Wanted},
    targets::HeaderCredentials,
};
use serde::{Deserialize, Serialize};

/// Members that are not known are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    tenant: Option<String>,
    tenant_id: Option<i64>,
    controller_id: Option<String>,
    target_id: Option<i64>,
    headers: Option<HashMap<String, Option<String>>>,
    file_resource: Option<FileResource>,
}

/// The first member that is there counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileResource {
    sha1: Option<String>,
    filename: Option<String>,
    artifact_id: Option<i64>,
    software_module_filename_resource: Option<InModule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InModule {
    software_module_id: i64,
    filename: String,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    download_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Artifact>,
    response_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    size: i64,
    last_modified: i64,
    hashes: Hashes,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Hashes {
    sha1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
}

/// The body of the reply to a request's. An error: the request can't be read, and never will be.
pub async fn answer(services: &Arc<Services>, body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let request: Request = serde_json::from_slice(body)?;
    let reply = match download_ids::issue(services, &request.as_domain(services)).await {
        Ok(reply) => Reply::from(reply),
        Err(error) => {
            tracing::error!(%error, cause = ?error.cause, "a download id could not be issued");
            Reply { response_code: 500, message: Some("The server failed; its log says why."), ..Reply::default() }
        }
    };
    serde_json::to_vec(&reply)
}

impl Request {
    fn as_domain<'a>(&'a self, services: &Services) -> download_ids::Request<'a> {
        let named = |name: Option<&'a str>, id: Option<i64>| name.map(Named::ByName).or(id.map(Named::ById));
        let header = |name: &str| {
            let headers = self.headers.iter().flatten();
            headers.filter(|(known, _)| known.eq_ignore_ascii_case(name)).find_map(|(_, value)| value.as_deref())
        };
        download_ids::Request {
            tenant: named(self.tenant.as_deref(), self.tenant_id),
            target: named(self.controller_id.as_deref(), self.target_id),
            credentials: HeaderCredentials::read(header, &services.settings.proxy_headers),
            wanted: self.file_resource.as_ref().and_then(FileResource::as_domain),
        }
    }
}

impl FileResource {
    fn as_domain(&self) -> Option<Wanted<'_>> {
        let sha1 = self.sha1.as_deref().map(Wanted::Sha1);
        let in_module = || {
            let InModule { software_module_id, filename } = self.software_module_filename_resource.as_ref()?;
            Some(Wanted::InModule { module: *software_module_id, filename })
        };
        sha1.or_else(|| self.filename.as_deref().map(Wanted::Filename))
            .or_else(|| self.artifact_id.map(Wanted::Artifact))
            .or_else(in_module)
    }
}

impl From<download_ids::Reply> for Reply {
    fn from(reply: download_ids::Reply) -> Reply {
        match reply {
            download_ids::Reply::Issued { url, artifact } => Reply {
                download_url: Some(url),
                artifact: Some(Artifact {
                    size: artifact.file_size.unwrap_or(0),
                    last_modified: artifact.last_modified_at.unwrap_or(0),
                    hashes: Hashes { sha1: artifact.sha1_hash, md5: artifact.md5_hash },
                }),
                response_code: 200,
                message: None,
            },
            download_ids::Reply::Refused => {
                Reply { response_code: 403, message: Some("The login failed."), ..Reply::default() }
            }
            download_ids::Reply::Unknown => {
                let message = "There is no such artifact, or no action of the target brings it.";
                Reply { response_code: 404, message: Some(message), ..Reply::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_is_named_counts() {
        for (resource, expected) in [
            (r#"{"sha1": "0a", "filename": "a"}"#, Some(r#"Sha1("0a")"#)),
            (r#"{"sha1": null, "filename": "a", "artifactId": 3}"#, Some(r#"Filename("a")"#)),
            (
                r#"{"artifactId": 3, "softwareModuleFilenameResource": {"softwareModuleId": 4, "filename": "a"}}"#,
                Some("Artifact(3)"),
            ),
            (
                r#"{"softwareModuleFilenameResource": {"softwareModuleId": 4, "filename": "a", "more": 1}}"#,
                Some(r#"InModule { module: 4, filename: "a" }"#),
            ),
            ("{}", None),
        ] {
            let request: Request = serde_json::from_str(&format!(r#"{{"fileResource": {resource}}}"#)).unwrap();
            let wanted = request.file_resource.as_ref().and_then(FileResource::as_domain);
            assert_eq!(wanted.map(|wanted| format!("{wanted:?}")).as_deref(), expected, "{resource}");
        }
    }

    #[test]
    fn a_reply_leaves_out_what_it_has_not() {
        let text = |reply| serde_json::to_string(&Reply::from(reply)).unwrap();
        assert_eq!(text(download_ids::Reply::Refused), r#"{"responseCode":403,"message":"The login failed."}"#);
        let artifact = kettle_domain::artifacts::Model {
            id: 7,
            created_at: Some(1),
            created_by: None,
            last_modified_at: Some(2),
            last_modified_by: None,
            optlock_revision: None,
            tenant: "T".into(),
            md5_hash: Some("md".into()),
            file_size: Some(3),
            provided_file_name: Some("a".into()),
            sha1_hash: "sh".into(),
            software_module: 4,
            sha256_hash: Some("x".into()),
        };
        assert_eq!(
            text(download_ids::Reply::Issued { url: "http://h/x".into(), artifact: artifact.into() }),
            r#"{"downloadUrl":"http://h/x","artifact":{"size":3,"lastModified":2,"hashes":{"sha1":"sh","md5":"md"}},"responseCode":200}"#
        );
    }

    #[test]
    fn what_is_no_request_cannot_be_read() {
        for body in ["", "[]", r#"{"tenantId": "x"}"#, r#"{"fileResource": 3}"#] {
            assert!(serde_json::from_str::<Request>(body).is_err(), "{body}");
        }
        assert!(serde_json::from_str::<Request>(r#"{"tenant": "T", "new": {}}"#).is_ok());
    }
}
