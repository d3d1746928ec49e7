//! The table: each operation with the permissions it needs, and a body that is right.

/// An operation. `{name}` in path, query and body stands for what [`World`](super::world::World) has under that name.
pub struct Operation {
    pub method: &'static str,
    /// As documented.
    pub path: &'static str,
    pub query: &'static str,
    pub needs: Needs,
    pub body: Body,
}

#[derive(Clone, Copy)]
pub enum Needs {
    /// All of these; `A|B` is one of the two. None: a login is enough.
    Permissions(&'static [&'static str]),
    /// A device's credentials.
    Device,
}

#[derive(Clone, Copy)]
pub enum Body {
    Nothing,
    Json(&'static str),
    File,
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

const fn user(method: &'static str, path: &'static str, needs: &'static [&'static str], body: Body) -> Operation {
    Operation { method, path, query: "", needs: Needs::Permissions(needs), body }
}

const fn asked(
    method: &'static str,
    path: &'static str,
    query: &'static str,
    needs: &'static [&'static str],
    body: Body,
) -> Operation {
    Operation { method, path, query, needs: Needs::Permissions(needs), body }
}

const fn device(method: &'static str, path: &'static str, body: Body) -> Operation {
    Operation { method, path, query: "", needs: Needs::Device, body }
}

use Body::{File, Json, Nothing};

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    // Actions.
    user("GET", "/rest/v1/actions", &["READ_TARGET"], Nothing),
    user("DELETE", "/rest/v1/actions", &["UPDATE_TARGET"], Json("[{actionId}]")),
    user("GET", "/rest/v1/actions/{actionId}", &["READ_TARGET"], Nothing),
    user("DELETE", "/rest/v1/actions/{actionId}", &["UPDATE_TARGET"], Nothing),
    // Distribution sets.
    user("GET", "/rest/v1/distributionsets", &["READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsets", &["CREATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET|READ_TARGET|READ_TENANT_CONFIGURATION", "READ_SOFTWARE_MODULE"], Json(r#"[{"name": "new", "version": "1", "type": "os", "modules": [{"id": {softwareModuleId}}]}]"#)),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}", &["READ_DISTRIBUTION_SET"], Nothing),
    user("PUT", "/rest/v1/distributionsets/{distributionSetId}", &["UPDATE_DISTRIBUTION_SET"], Json(r#"{"description": "changed"}"#)),
    user("DELETE", "/rest/v1/distributionsets/{distributionSetId}", &["DELETE_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/assignedSM", &["READ_SOFTWARE_MODULE"], Nothing),
    user("POST", "/rest/v1/distributionsets/{distributionSetId}/assignedSM", &["UPDATE_DISTRIBUTION_SET"], Json(r#"[{"id": {softwareModuleId}}]"#)),
    user("DELETE", "/rest/v1/distributionsets/{distributionSetId}/assignedSM/{softwareModuleId}", &["UPDATE_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/assignedTargets", &["READ_TARGET", "READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsets/{distributionSetId}/assignedTargets", &["UPDATE_TARGET", "READ_DISTRIBUTION_SET"], Json(r#"[{"id": "{targetId}"}]"#)),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/installedTargets", &["READ_TARGET", "READ_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/autoAssignTargetFilters", &["READ_TARGET", "READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsets/{distributionSetId}/invalidate", &["UPDATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET", "UPDATE_ROLLOUT", "UPDATE_TARGET"], Json(r#"{"actionCancelationType": "soft"}"#)),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/metadata", &["READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsets/{distributionSetId}/metadata", &["UPDATE_DISTRIBUTION_SET"], Json(r#"[{"key": "new", "value": "v"}]"#)),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}", &["READ_DISTRIBUTION_SET"], Nothing),
    user("PUT", "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}", &["UPDATE_DISTRIBUTION_SET"], Json(r#"{"value": "w"}"#)),
    user("DELETE", "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}", &["UPDATE_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/statistics", &["READ_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/statistics/actions", &["READ_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/statistics/autoassignments", &["READ_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsets/{distributionSetId}/statistics/rollouts", &["READ_DISTRIBUTION_SET"], Nothing),
    // Tags of distribution sets.
    user("GET", "/rest/v1/distributionsettags", &["READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsettags", &["CREATE_DISTRIBUTION_SET"], Json(r#"[{"name": "new"}]"#)),
    user("GET", "/rest/v1/distributionsettags/{distributionsetTagId}", &["READ_DISTRIBUTION_SET"], Nothing),
    user("PUT", "/rest/v1/distributionsettags/{distributionsetTagId}", &["UPDATE_DISTRIBUTION_SET"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/distributionsettags/{distributionsetTagId}", &["DELETE_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/distributionsettags/{distributionsetTagId}/assigned", &["READ_DISTRIBUTION_SET"], Nothing),
    user("POST", "/rest/v1/distributionsettags/{distributionsetTagId}/assigned", &["UPDATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET"], Json("[{distributionsetId}]")),
    user("DELETE", "/rest/v1/distributionsettags/{distributionsetTagId}/assigned", &["UPDATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET"], Json("[{distributionsetId}]")),
    user("POST", "/rest/v1/distributionsettags/{distributionsetTagId}/assigned/{distributionsetId}", &["UPDATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET"], Nothing),
    user("DELETE", "/rest/v1/distributionsettags/{distributionsetTagId}/assigned/{distributionsetId}", &["UPDATE_DISTRIBUTION_SET", "READ_DISTRIBUTION_SET"], Nothing),
    // Types of distribution sets.
    user("GET", "/rest/v1/distributionsettypes", &["READ_DISTRIBUTION_SET_TYPE"], Nothing),
    user("POST", "/rest/v1/distributionsettypes", &["CREATE_DISTRIBUTION_SET_TYPE", "READ_SOFTWARE_MODULE_TYPE"], Json(r#"[{"name": "new", "key": "new", "mandatorymodules": [{"id": {softwareModuleTypeId}}]}]"#)),
    user("GET", "/rest/v1/distributionsettypes/{distributionSetTypeId}", &["READ_DISTRIBUTION_SET_TYPE"], Nothing),
    user("PUT", "/rest/v1/distributionsettypes/{distributionSetTypeId}", &["UPDATE_DISTRIBUTION_SET_TYPE"], Json(r#"{"description": "changed"}"#)),
    user("DELETE", "/rest/v1/distributionsettypes/{distributionSetTypeId}", &["DELETE_DISTRIBUTION_SET_TYPE"], Nothing),
    user("GET", "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes", &["READ_DISTRIBUTION_SET_TYPE"], Nothing),
    user("POST", "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes", &["UPDATE_DISTRIBUTION_SET_TYPE"], Json(r#"{"id": {softwareModuleTypeId}}"#)),
    user("GET", "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes/{softwareModuleTypeId}", &["READ_DISTRIBUTION_SET_TYPE", "READ_SOFTWARE_MODULE_TYPE"], Nothing),
    user("DELETE", "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes/{softwareModuleTypeId}", &["UPDATE_DISTRIBUTION_SET_TYPE"], Nothing),
    user("GET", "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes", &["READ_DISTRIBUTION_SET_TYPE"], Nothing),
    user("POST", "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes", &["UPDATE_DISTRIBUTION_SET_TYPE"], Json(r#"{"id": {softwareModuleTypeId}}"#)),
    user("GET", "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes/{softwareModuleTypeId}", &["READ_DISTRIBUTION_SET_TYPE", "READ_SOFTWARE_MODULE_TYPE"], Nothing),
    user("DELETE", "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes/{softwareModuleTypeId}", &["UPDATE_DISTRIBUTION_SET_TYPE"], Nothing),
    // Rollouts.
    user("GET", "/rest/v1/rollouts", &["READ_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts", &["CREATE_ROLLOUT", "READ_TARGET", "READ_DISTRIBUTION_SET"], Json(r#"{"name": "new", "distributionSetId": {distributionSetId}, "targetFilterQuery": "id==*", "amountGroups": 1}"#)),
    user("GET", "/rest/v1/rollouts/{rolloutId}", &["READ_ROLLOUT"], Nothing),
    user("PUT", "/rest/v1/rollouts/{rolloutId}", &["UPDATE_ROLLOUT"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/rollouts/{rolloutId}", &["DELETE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/approve", &["APPROVE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/deny", &["APPROVE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/pause", &["HANDLE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/resume", &["HANDLE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/start", &["HANDLE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/stop", &["UPDATE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/triggerNextGroup", &["UPDATE_ROLLOUT"], Nothing),
    user("POST", "/rest/v1/rollouts/{rolloutId}/retry", &["READ_ROLLOUT", "CREATE_ROLLOUT", "READ_TARGET", "READ_DISTRIBUTION_SET"], Nothing),
    user("GET", "/rest/v1/rollouts/{rolloutId}/deploygroups", &["READ_ROLLOUT"], Nothing),
    user("GET", "/rest/v1/rollouts/{rolloutId}/deploygroups/{groupId}", &["READ_ROLLOUT"], Nothing),
    user("GET", "/rest/v1/rollouts/{rolloutId}/deploygroups/{groupId}/targets", &["READ_ROLLOUT", "READ_TARGET"], Nothing),
    // Software modules.
    user("GET", "/rest/v1/softwaremodules", &["READ_SOFTWARE_MODULE"], Nothing),
    user("POST", "/rest/v1/softwaremodules", &["CREATE_SOFTWARE_MODULE"], Json(r#"[{"name": "new", "version": "1", "type": "os"}]"#)),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}", &["READ_SOFTWARE_MODULE"], Nothing),
    user("PUT", "/rest/v1/softwaremodules/{softwareModuleId}", &["UPDATE_SOFTWARE_MODULE"], Json(r#"{"description": "changed"}"#)),
    user("DELETE", "/rest/v1/softwaremodules/{softwareModuleId}", &["READ_SOFTWARE_MODULE", "DELETE_SOFTWARE_MODULE"], Nothing),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}/artifacts", &["READ_SOFTWARE_MODULE"], Nothing),
    user("POST", "/rest/v1/softwaremodules/{softwareModuleId}/artifacts", &["CREATE_SOFTWARE_MODULE"], File),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}", &["READ_SOFTWARE_MODULE"], Nothing),
    user("DELETE", "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}", &["READ_SOFTWARE_MODULE", "DELETE_SOFTWARE_MODULE"], Nothing),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}/download", &["READ_SOFTWARE_MODULE", "READ_SOFTWARE_MODULE_ARTIFACT"], Nothing),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}/metadata", &["READ_SOFTWARE_MODULE"], Nothing),
    user("POST", "/rest/v1/softwaremodules/{softwareModuleId}/metadata", &["UPDATE_SOFTWARE_MODULE"], Json(r#"[{"key": "new", "value": "v"}]"#)),
    user("GET", "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}", &["READ_SOFTWARE_MODULE"], Nothing),
    user("PUT", "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}", &["UPDATE_SOFTWARE_MODULE"], Json(r#"{"value": "w"}"#)),
    user("DELETE", "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}", &["UPDATE_SOFTWARE_MODULE"], Nothing),
    // Types of software modules.
    user("GET", "/rest/v1/softwaremoduletypes", &["READ_SOFTWARE_MODULE_TYPE"], Nothing),
    user("POST", "/rest/v1/softwaremoduletypes", &["CREATE_SOFTWARE_MODULE_TYPE"], Json(r#"[{"name": "new", "key": "new", "maxAssignments": 1}]"#)),
    user("GET", "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}", &["READ_SOFTWARE_MODULE_TYPE"], Nothing),
    user("PUT", "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}", &["UPDATE_SOFTWARE_MODULE_TYPE"], Json(r#"{"description": "changed"}"#)),
    user("DELETE", "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}", &["DELETE_SOFTWARE_MODULE_TYPE"], Nothing),
    // Settings of the tenant.
    user("GET", "/rest/v1/system/configs", &["READ_TENANT_CONFIGURATION"], Nothing),
    user("PUT", "/rest/v1/system/configs", &["UPDATE_TENANT_CONFIGURATION"], Json(r#"{"pollingTime": "00:03:00"}"#)),
    user("GET", "/rest/v1/system/configs/{keyName}", &["READ_TENANT_CONFIGURATION"], Nothing),
    user("PUT", "/rest/v1/system/configs/{keyName}", &["UPDATE_TENANT_CONFIGURATION"], Json(r#"{"value": "00:02:00"}"#)),
    user("DELETE", "/rest/v1/system/configs/{keyName}", &["DELETE_TENANT_CONFIGURATION"], Nothing),
    // Target filters.
    user("GET", "/rest/v1/targetfilters", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targetfilters", &["CREATE_TARGET"], Json(r#"{"name": "new", "query": "id==*"}"#)),
    user("GET", "/rest/v1/targetfilters/{filterId}", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targetfilters/{filterId}", &["UPDATE_TARGET"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/targetfilters/{filterId}", &["DELETE_TARGET"], Nothing),
    user("GET", "/rest/v1/targetfilters/{filterId}/autoAssignDS", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targetfilters/{filterId}/autoAssignDS", &["UPDATE_TARGET", "READ_DISTRIBUTION_SET"], Json(r#"{"id": {distributionSetId}}"#)),
    user("DELETE", "/rest/v1/targetfilters/{filterId}/autoAssignDS", &["UPDATE_TARGET"], Nothing),
    // Target groups.
    user("GET", "/rest/v1/targetgroups", &["READ_TARGET"], Nothing),
    asked("PUT", "/rest/v1/targetgroups", "?group=new&q=controllerid=={targetId}", &["UPDATE_TARGET"], Nothing),
    asked("DELETE", "/rest/v1/targetgroups", "?q=controllerid=={targetId}", &["UPDATE_TARGET"], Nothing),
    asked("GET", "/rest/v1/targetgroups/assigned", "?group={group}", &["READ_TARGET"], Nothing),
    asked("PUT", "/rest/v1/targetgroups/assigned", "?group=new", &["UPDATE_TARGET"], Json(r#"["{targetId}"]"#)),
    user("DELETE", "/rest/v1/targetgroups/assigned", &["UPDATE_TARGET"], Json(r#"["{targetId}"]"#)),
    asked("PUT", "/rest/v1/targetgroups/{group}", "?q=controllerid=={targetId}", &["UPDATE_TARGET"], Nothing),
    user("GET", "/rest/v1/targetgroups/{group}/assigned", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targetgroups/{group}/assigned", &["UPDATE_TARGET"], Json(r#"["{targetId}"]"#)),
    // Targets.
    user("GET", "/rest/v1/targets", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targets", &["CREATE_TARGET", "READ_TARGET"], Json(r#"[{"controllerId": "new"}]"#)),
    user("GET", "/rest/v1/targets/{targetId}", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targets/{targetId}", &["READ_TARGET", "UPDATE_TARGET"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/targets/{targetId}", &["DELETE_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/actions", &["READ_TARGET"], Nothing),
    user("DELETE", "/rest/v1/targets/{targetId}/actions", &["UPDATE_TARGET"], Json("[{actionId}]")),
    user("GET", "/rest/v1/targets/{targetId}/actions/{actionId}", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targets/{targetId}/actions/{actionId}", &["READ_TARGET", "UPDATE_TARGET"], Json(r#"{"forceType": "forced"}"#)),
    user("DELETE", "/rest/v1/targets/{targetId}/actions/{actionId}", &["READ_TARGET", "UPDATE_TARGET"], Nothing),
    user("PUT", "/rest/v1/targets/{targetId}/actions/{actionId}/confirmation", &["READ_TARGET", "UPDATE_TARGET"], Json(r#"{"confirmation": "confirmed"}"#)),
    user("GET", "/rest/v1/targets/{targetId}/actions/{actionId}/status", &["READ_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/assignedDS", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targets/{targetId}/assignedDS", &["READ_TARGET", "UPDATE_TARGET", "READ_DISTRIBUTION_SET"], Json(r#"{"id": {distributionSetId}}"#)),
    user("GET", "/rest/v1/targets/{targetId}/attributes", &["READ_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/autoConfirm", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targets/{targetId}/autoConfirm/activate", &["UPDATE_TARGET"], Json(r#"{"initiator": "someone"}"#)),
    user("POST", "/rest/v1/targets/{targetId}/autoConfirm/deactivate", &["UPDATE_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/installedDS", &["READ_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/metadata", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targets/{targetId}/metadata", &["UPDATE_TARGET"], Json(r#"[{"key": "new", "value": "v"}]"#)),
    user("GET", "/rest/v1/targets/{targetId}/metadata/{metadataKey}", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targets/{targetId}/metadata/{metadataKey}", &["UPDATE_TARGET"], Json(r#"{"value": "w"}"#)),
    user("DELETE", "/rest/v1/targets/{targetId}/metadata/{metadataKey}", &["UPDATE_TARGET"], Nothing),
    user("GET", "/rest/v1/targets/{targetId}/tags", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targets/{targetId}/targettype", &["UPDATE_TARGET"], Json(r#"{"id": {targetTypeId}}"#)),
    user("DELETE", "/rest/v1/targets/{targetId}/targettype", &["UPDATE_TARGET"], Nothing),
    // Tags of targets.
    user("GET", "/rest/v1/targettags", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targettags", &["CREATE_TARGET"], Json(r#"[{"name": "new"}]"#)),
    user("GET", "/rest/v1/targettags/{targetTagId}", &["READ_TARGET"], Nothing),
    user("PUT", "/rest/v1/targettags/{targetTagId}", &["UPDATE_TARGET"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/targettags/{targetTagId}", &["READ_TARGET", "DELETE_TARGET"], Nothing),
    user("GET", "/rest/v1/targettags/{targetTagId}/assigned", &["READ_TARGET"], Nothing),
    user("POST", "/rest/v1/targettags/{targetTagId}/assigned", &["UPDATE_TARGET"], Json(r#"["{controllerId}"]"#)),
    user("DELETE", "/rest/v1/targettags/{targetTagId}/assigned", &["UPDATE_TARGET"], Json(r#"["{controllerId}"]"#)),
    user("POST", "/rest/v1/targettags/{targetTagId}/assigned/{controllerId}", &["UPDATE_TARGET"], Nothing),
    user("DELETE", "/rest/v1/targettags/{targetTagId}/assigned/{controllerId}", &["UPDATE_TARGET"], Nothing),
    // Types of targets.
    user("GET", "/rest/v1/targettypes", &["READ_TARGET_TYPE"], Nothing),
    user("POST", "/rest/v1/targettypes", &["CREATE_TARGET_TYPE", "READ_DISTRIBUTION_SET_TYPE"], Json(r#"[{"name": "new", "compatibledistributionsettypes": [{"id": {distributionSetTypeId}}]}]"#)),
    user("GET", "/rest/v1/targettypes/{targetTypeId}", &["READ_TARGET_TYPE"], Nothing),
    user("PUT", "/rest/v1/targettypes/{targetTypeId}", &["UPDATE_TARGET_TYPE"], Json(r#"{"name": "changed"}"#)),
    user("DELETE", "/rest/v1/targettypes/{targetTypeId}", &["DELETE_TARGET_TYPE"], Nothing),
    user("GET", "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes", &["READ_TARGET_TYPE"], Nothing),
    user("POST", "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes", &["UPDATE_TARGET_TYPE", "READ_DISTRIBUTION_SET_TYPE"], Json(r#"[{"id": {distributionSetTypeId}}]"#)),
    user("DELETE", "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes/{distributionSetTypeId}", &["UPDATE_TARGET_TYPE", "READ_DISTRIBUTION_SET_TYPE"], Nothing),
    // The caller.
    user("GET", "/rest/v1/userinfo", &[], Nothing),
    // Devices.
    device("GET", "/{tenant}/controller/v1/{controllerId}", Nothing),
    device("GET", "/{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}", Nothing),
    device("POST", "/{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}/feedback", Json(r#"{"status": {"execution": "proceeding", "result": {"finished": "none"}}}"#)),
    device("PUT", "/{tenant}/controller/v1/{controllerId}/configData", Json(r#"{"data": {"key": "value"}}"#)),
    device("GET", "/{tenant}/controller/v1/{controllerId}/confirmationBase", Nothing),
    device("POST", "/{tenant}/controller/v1/{controllerId}/confirmationBase/activateAutoConfirm", Json("{}")),
    device("POST", "/{tenant}/controller/v1/{controllerId}/confirmationBase/deactivateAutoConfirm", Nothing),
    device("GET", "/{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}", Nothing),
    device("POST", "/{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}/feedback", Json(r#"{"confirmation": "confirmed"}"#)),
    device("GET", "/{tenant}/controller/v1/{controllerId}/deploymentBase/{actionId}", Nothing),
    device("POST", "/{tenant}/controller/v1/{controllerId}/deploymentBase/{actionId}/feedback", Json(r#"{"status": {"execution": "proceeding", "result": {"finished": "none"}}}"#)),
    device("PUT", "/{tenant}/controller/v1/{controllerId}/installedBase", Json(r#"{"name": "fw", "version": "1"}"#)),
    device("GET", "/{tenant}/controller/v1/{controllerId}/installedBase/{actionId}", Nothing),
    device("GET", "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts", Nothing),
    device("GET", "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{fileName}", Nothing),
    device("GET", "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{fileName}.MD5SUM", Nothing),
];
