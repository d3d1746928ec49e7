//! Protection against reflected file downloads, as the peer's framework has it: an answer whose address ends in an
//! extension that a browser might run is named `f.txt`. A dot in a controllerId or a configuration key suffices.

use axum::response::Response;
use http::{
    HeaderValue,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use percent_encoding::percent_decode_str;

/// Extensions that no browser runs. The last rows are pictures, sounds and films, which the framework knows by type.
const SAFE: &[&str] = &[
    "txt",
    "text",
    "yml",
    "properties",
    "csv",
    "json",
    "xml",
    "atom",
    "rss",
    "png",
    "jpe",
    "jpeg",
    "jpg",
    "gif",
    "wbmp",
    "bmp",
    "cbor",
    "yaml", //
    "svg",
    "svgz",
    "webp",
    "ico",
    "tif",
    "tiff",
    "avif",
    "heic",
    "heif",
    "psd",
    "djvu",
    "ief",
    "cgm",
    "pcx",
    "pct",
    "pic",
    "pbm",
    "pgm",
    "pnm",
    "ppm",
    "ras",
    "rgb",
    "xbm",
    "xpm",
    "xwd", //
    "mp3",
    "mpga",
    "mp2",
    "mp2a",
    "m2a",
    "m3a",
    "oga",
    "ogg",
    "spx",
    "opus",
    "wav",
    "weba",
    "aac",
    "aif",
    "aiff",
    "aifc",
    "flac",
    "m3u",
    "m4a",
    "mid",
    "midi",
    "kar",
    "rmi",
    "au",
    "snd",
    "mka",
    "wma",
    "wax",
    "ram",
    "ra", //
    "mp4",
    "mp4v",
    "mpg4",
    "mpeg",
    "mpg",
    "mpe",
    "m1v",
    "m2v",
    "m4v",
    "ogv",
    "qt",
    "mov",
    "webm",
    "mkv",
    "mk3d",
    "mks",
    "avi",
    "wmv",
    "wmx",
    "wvx",
    "wm",
    "asf",
    "asx",
    "flv",
    "f4v",
    "fli",
    "3gp",
    "3g2",
    "h261",
    "h263",
    "h264",
    "jpgv",
    "movie",
    "vob",
    "xhtml",
    "xht",
];

/// Whether the last segment of a path has an extension that is not known to be harmless.
pub(super) fn risky(path: &str) -> bool {
    let segment = path.rsplit('/').next().unwrap_or(path);
    if !segment.contains(['.', '%']) {
        return false;
    }
    let (name, parameters) = segment.split_once(';').unwrap_or((segment, ""));
    unsafe_extension(name) || unsafe_extension(parameters)
}

fn unsafe_extension(text: &str) -> bool {
    let text = percent_decode_str(text).decode_utf8_lossy();
    let last = text.rsplit('/').next().unwrap_or(&text);
    let Some((_, extension)) = last.rsplit_once('.') else { return false };
    !extension.trim().is_empty() && !SAFE.iter().any(|safe| extension.eq_ignore_ascii_case(safe))
}

/// Names an answer that has a body, unless it has a name already.
pub(super) fn mark(response: &mut Response) {
    let status = response.status();
    let answered = status.is_success() || status.is_client_error() || status.is_server_error();
    let headers = response.headers_mut();
    if answered && headers.contains_key(CONTENT_TYPE) && !headers.contains_key(CONTENT_DISPOSITION) {
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("inline;filename=f.txt"));
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::media::{json, no_content};

    #[test]
    fn an_extension_is_risky_unless_known() {
        for (path, expected) in [
            ("/rest/v1/system/configs/pollingTime", false),
            ("/rest/v1/system/configs/rollout.approval.enabled", true),
            ("/rest/v1/system/configs/authentication.gatewaytoken.key", true),
            ("/rest/v1/targets/a.b/attributes", false),
            ("/DEFAULT/controller/v1/gateway.7", true),
            ("/DEFAULT/controller/v1/gateway.TXT", false),
            ("/DEFAULT/controller/v1/cam.mp4", false),
            ("/DEFAULT/controller/v1/dev%2Ebat", true),
            ("/DEFAULT/controller/v1/dev%20one", false),
            ("/DEFAULT/controller/v1/dev.", false),
            ("/DEFAULT/controller/v1/dev.json;x.bat", true),
            ("/DEFAULT/controller/v1/", false),
            ("", false),
        ] {
            assert_eq!(risky(path), expected, "{path}");
        }
    }

    #[test]
    fn only_answers_with_a_body_and_no_name_are_named() {
        let name = |mut response: Response| {
            mark(&mut response);
            response.headers().get(CONTENT_DISPOSITION).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(name(json(StatusCode::OK, &1)).as_deref(), Some("inline;filename=f.txt"));
        assert_eq!(name(json(StatusCode::BAD_REQUEST, &1)).as_deref(), Some("inline;filename=f.txt"));
        assert_eq!(name(no_content()), None);
        let mut download = json(StatusCode::OK, &1);
        download.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment;filename=a.bin"));
        assert_eq!(name(download).as_deref(), Some("attachment;filename=a.bin"));
    }
}
