//! `/rest/v1/softwaremodules/{softwareModuleId}/artifacts`: the files of a module, up and down.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Method},
    response::Response,
};
use kettle_domain::{
    Ctx,
    artifacts::{self, Model, NewArtifact, Shown, urls::File},
};
use kettle_rest::{
    Accept, AppState, Base, FileMeta, Links, Params, Path, Representation, Result, User, discard, file_response,
    multipart_file, no_content,
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    software_modules,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, upload)).routes(routes!(one, delete)).routes(routes!(download))
}

/// A module's artifacts.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}/artifacts",
    params(Representation, ("useartifacturlhandler" = Option<bool>, Query)),
    responses((status = 200, body = Vec<Artifact>))
)]
async fn list(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(module): Path<i64>,
    params: Params,
) -> Result<Response> {
    let full = params.text("representation").as_deref() == Some("full");
    let downloads = if full { Downloads::asked(&params, &ctx)? } else { Downloads::None };
    let found = artifacts::list(&ctx, module).await?.into_iter();
    Ok(media.ok(&found.map(|shown| Artifact::shown(shown, downloads, &base)).collect::<Vec<_>>()))
}

/// One artifact.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}",
    params(("useartifacturlhandler" = Option<bool>, Query)), responses((status = 200, body = Artifact))
)]
async fn one(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((module, id)): Path<(i64, i64)>,
    params: Params,
) -> Result<Response> {
    let downloads = Downloads::asked(&params, &ctx)?;
    Ok(media.ok(&Artifact::shown(artifacts::get(&ctx, module, id).await?, downloads, &base)))
}

/// Uploads an artifact.
#[utoipa::path(
    post, path = "/rest/v1/softwaremodules/{softwareModuleId}/artifacts",
    params(UploadParams), request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = Artifact),
        (status = 400, description = "No body, if the file is empty."),
        (status = 423)
    )
)]
async fn upload(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(module): Path<i64>,
    params: Params,
    request: Request,
) -> Result<Response> {
    let mut upload = multipart_file(request).await?;
    let new = new_artifact(&params, upload.filename.take());
    match artifacts::create(&ctx, module, new, &mut upload.content).await {
        Ok(created) => Ok(media.created(&Artifact::full(created, &base))),
        Err(error) => {
            discard(Body::from_stream(upload.content));
            Err(error.into())
        }
    }
}

/// Deletes an artifact.
#[utoipa::path(
    delete, path = "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}",
    responses((status = 204), (status = 423))
)]
async fn delete(User(ctx): User, Path((module, id)): Path<(i64, i64)>) -> Result<Response> {
    artifacts::delete(&ctx, module, id).await?;
    Ok(no_content())
}

/// An artifact's content, whole or in ranges.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}/download",
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 410),
        (status = 416)
    )
)]
async fn download(
    User(ctx): User,
    Path((module, id)): Path<(i64, i64)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let (artifact, file) = artifacts::download(&ctx, module, id).await?;
    Ok(file_response(&method, &headers, file, &file_meta(artifact)).await)
}

/// What outweighs what the form of an upload says.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its names and types are wanted")]
struct UploadParams {
    filename: Option<String>,
    md5sum: Option<String>,
    sha1sum: Option<String>,
    sha256sum: Option<String>,
}

/// The form of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its names and types are wanted")]
struct UploadForm {
    #[schema(content_media_type = "application/octet-stream")]
    file: String,
}

/// Which links to its download an artifact has.
#[derive(Clone, Copy)]
enum Downloads<'a> {
    None,
    /// To this API.
    Here,
    /// Those configured for clients of this API; by default none are.
    Configured(&'a Ctx),
}

impl Downloads<'_> {
    fn asked<'a>(params: &Params, ctx: &'a Ctx) -> Result<Downloads<'a>> {
        let configured = params.flag("useartifacturlhandler")?.unwrap_or(false);
        Ok(if configured { Downloads::Configured(ctx) } else { Downloads::Here })
    }
}

/// The parameters outweigh what the form says of its file. Hashes come in any case.
fn new_artifact(params: &Params, filename: Option<String>) -> NewArtifact {
    let hash = |name: &str| params.text(name).map(|v| v.to_lowercase()).filter(|v| !v.is_empty());
    NewArtifact {
        filename: params.text("filename").map(String::from).or(filename).unwrap_or_default(),
        md5: hash("md5sum"),
        sha1: hash("sha1sum"),
        sha256: hash("sha256sum"),
    }
}

fn file_meta(artifact: Model) -> FileMeta {
    FileMeta {
        len: u64::try_from(artifact.file_size.unwrap_or(0)).unwrap_or(0),
        sha1: artifact.sha1_hash,
        last_modified_ms: artifact.created_at.unwrap_or(0),
        filename: artifact.provided_file_name.unwrap_or_default(),
    }
}

/// An artifact as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    #[serde(flatten)]
    audit: Audit,
    hashes: Hashes,
    #[serde(skip_serializing_if = "Option::is_none")]
    provided_filename: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<i64>,
    id: i64,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct Hashes {
    sha1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Artifact {
    /// With the links to its download that are wanted, if there is anything to download.
    fn shown(shown: Shown, downloads: Downloads<'_>, base: &Base) -> Artifact {
        match downloads {
            Downloads::Here if !shown.deleted => Artifact::full(shown.artifact, base),
            Downloads::Configured(ctx) if !shown.deleted => Artifact::configured(shown.artifact, base, ctx),
            _ => Artifact::compact(shown.artifact, base),
        }
    }

    /// As in a list: with the link to itself only.
    fn compact(artifact: Model, base: &Base) -> Artifact {
        let links = Links::this(href(base, &artifact));
        Artifact::new(artifact, links)
    }

    fn full(artifact: Model, base: &Base) -> Artifact {
        let this = href(base, &artifact);
        let links = Links::this(this.as_str()).with("download", format!("{this}/download"));
        Artifact::new(artifact, links)
    }

    fn configured(artifact: Model, base: &Base, ctx: &Ctx) -> Artifact {
        let file = File {
            module: artifact.software_module,
            filename: artifact.provided_file_name.as_deref().unwrap_or_default(),
            sha1: &artifact.sha1_hash,
        };
        let urls = ctx.settings().artifact_urls.mgmt(ctx.tenant_id(), &file);
        let this = Links::this(href(base, &artifact));
        let links = urls.into_iter().fold(this, |links, (rel, url)| links.with(rel.to_string(), url));
        Artifact::new(artifact, links)
    }

    fn new(artifact: Model, links: Links) -> Artifact {
        Artifact {
            audit: audit_of!(artifact),
            hashes: Hashes { sha1: artifact.sha1_hash, md5: artifact.md5_hash, sha256: artifact.sha256_hash },
            provided_filename: artifact.provided_file_name,
            size: artifact.file_size,
            id: artifact.id,
            links,
        }
    }
}

fn href(base: &Base, artifact: &Model) -> String {
    format!("{}/artifacts/{}", software_modules::href(base, artifact.software_module), artifact.id)
}
