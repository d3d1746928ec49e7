//! What the OpenAPI document says of the Management API as a whole.

use kettle_rest::{About, Tag};
use serde_json::json;

pub fn about() -> About {
    About {
        title: "Management API",
        description: "For operators and their tools: targets, software, and what is to run where.",
        prefix: "/rest/v1",
        requests: &["application/hal+json"],
        answers: &["application/hal+json"],
        tags: TAGS,
        security: json!({
            "Basic": { "type": "http", "scheme": "basic", "description": "A user of the configuration." },
            "Session": {
                "type": "apiKey", "in": "cookie", "name": "kettle_session",
                "description": "A session, opened with `POST /session`. What changes something has to come from a page of this \
                                server: `Sec-Fetch-Site: same-origin`, or its `Origin`.",
            },
        }),
        bare: &[],
    }
}

const TAGS: &[Tag] = &[
    tag("/rest/v1/targettypes", "Target Types", "Kinds of devices, and which distribution sets fit them."),
    tag("/rest/v1/targettags", "Target Tags", "Labels of targets."),
    tag("/rest/v1/targetgroups", "Target Groups", "Where targets belong to, as a path of names."),
    tag("/rest/v1/targetfilters", "Target Filter Queries", "Kept searches, and what they assign by themselves."),
    tag("/rest/v1/targets", "Targets", "Devices: what they are, what they run, and what they are to run."),
    tag("/rest/v1/distributionsettypes", "Distribution Set Types", "Which modules sets have to hold, and may hold."),
    tag("/rest/v1/distributionsettags", "Distribution Set Tags", "Labels of distribution sets."),
    tag("/rest/v1/distributionsets", "Distribution Sets", "Software modules that are installed together."),
    tag("/rest/v1/softwaremoduletypes", "Software Module Types", "Kinds of software modules."),
    tag("/rest/v1/softwaremodules", "Software Modules", "Software with its files."),
    tag("/rest/v1/rollouts", "Rollouts", "Assignments to many targets, group by group."),
    tag("/rest/v1/actions", "Actions", "Assignments under way, and those that ended."),
    tag("/rest/v1/system/failedlogins", "Failed Logins", "Whose logins are refused for a while."),
    tag("/rest/v1/system", "System Configuration", "The tenant's settings."),
    tag("/session", "Sessions", "Logins for as long as a browser is used."),
    tag("/rest/v1/userinfo", "Basic Authentication", "Who is logged in."),
];

const fn tag(path: &'static str, name: &'static str, description: &'static str) -> Tag {
    Tag { path, name, description }
}
