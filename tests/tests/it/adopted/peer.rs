//! Writes what hawkBit would have left in its tables, had it been stopped half-way: a rollout of the twelve targets
//! `p-00` to `p-11` in three groups of four, each in the state that a test says.

use std::ops::Range;

use serde_json::Value;

use super::{Adopted, WITHIN, call, reaches};
use crate::harness::{Server, eventually};

/// The rollout's id; its groups follow it.
pub const ROLLOUT: i64 = 50;
/// A set of the recording that is valid, complete, and on no target of ours.
pub const SET: i64 = 9;
const TARGETS: i64 = 12;
/// The row id of target 0.
const TARGET: i64 = 100;
/// Who wrote all this and when: after what was recorded.
const AUDIT_COLUMNS: &str = "created_at, created_by, last_modified_at, last_modified_by, optlock_revision, tenant";
const AUDIT: &str = "1795314690000, 'admin', 1795314690000, 'admin', 1, 'DEFAULT'";
const CONTEXT: &str = r#"'{"tenant":"DEFAULT","auditor":"admin","authorities":["ROLE_TENANT_ADMIN"]}'"#;

#[derive(Clone, Copy)]
pub enum Group {
    Ready = 0,
    Scheduled = 1,
    Finished = 2,
    Error = 3,
    Running = 4,
    Creating = 5,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Scheduled,
    Running,
    Canceling,
    Finished,
    Error,
}

/// The statements that write it, in the order in which they are said.
pub struct Peer {
    sql: String,
}

impl Peer {
    /// The targets and a static rollout in a status (semantics.md B3), without groups.
    pub fn rollout(status: i64) -> Self {
        let sql = format!(
            "INSERT INTO sp_target ({AUDIT_COLUMNS}, id, name, controller_id, sec_token, request_controller_attributes, update_status) \
             SELECT {AUDIT}, {TARGET} + n, id, id, 'token-' || id, true, 4 FROM generate_series(0, {TARGETS} - 1) n, LATERAL (SELECT 'p-' || lpad(n::text, 2, '0') AS id) t;\n\
             INSERT INTO sp_rollout ({AUDIT_COLUMNS}, id, name, description, last_check, status, distribution_set, target_filter, forced_time, \
               total_targets, rollout_groups_created, deleted, action_type, weight, access_control_context, is_dynamic) \
             VALUES ({AUDIT}, {ROLLOUT}, 'wave', '', 0, {status}, {SET}, 'controllerId==p-*', 0, \
               {TARGETS}, 3, false, 0, 1000, {CONTEXT}, false);\n"
        );
        Self { sql }
    }

    /// The next group, of a third of all, with its members.
    pub fn group(mut self, number: i64, status: Group, members: Range<i64>) -> Self {
        let (id, before) = (ROLLOUT + number, ROLLOUT + number - 1);
        let parent = if number == 1 { "NULL".to_owned() } else { before.to_string() };
        let (status, total) = (status as i64, members.clone().count());
        self.sql += &format!(
            "INSERT INTO sp_rollout_group ({AUDIT_COLUMNS}, id, name, description, error_condition, error_condition_exp, error_action, \
               error_action_exp, success_condition, success_condition_exp, success_action, success_action_exp, status, \
               parent, rollout, total_targets, target_percentage, target_filter, confirmation_required, is_dynamic) \
             VALUES ({AUDIT}, {id}, 'group-{number}', 'group-{number}', \
               0, '50', 0, '', 0, '50', 0, '', {status}, {parent}, {ROLLOUT}, {total}, 33.333332, '', false, false);\n"
        );
        if total > 0 {
            let (first, last) = (TARGET + members.start, TARGET + members.end - 1);
            self.sql += &format!(
                "INSERT INTO sp_rollout_target_group (rollout_group, target) \
                 SELECT {id}, target FROM generate_series({first}, {last}) target;\n"
            );
        }
        self
    }

    /// The rollout's actions for targets of a group, with what they did to their targets and their history.
    pub fn actions(mut self, group: i64, targets: Range<i64>, state: Action) -> Self {
        // Stored as semantics.md G3 says.
        let (status, history, target): (_, &[i64], _) = match state {
            Action::Scheduled => (8, &[], ""),
            Action::Running => (3, &[3], "assigned_distribution_set = 9, update_status = 2"),
            Action::Canceling => (5, &[3, 5], "assigned_distribution_set = 9, update_status = 2"),
            Action::Finished => {
                (0, &[3, 0], "assigned_distribution_set = 9, installed_distribution_set = 9, update_status = 1")
            }
            Action::Error => (1, &[3, 1], "update_status = 3"),
        };
        let active = matches!(state, Action::Running | Action::Canceling);
        for target in targets {
            let target_id = TARGET + target;
            // One action of the rollout per target, so its id can be told.
            let action = 1_000 + target;
            let group_id = ROLLOUT + group;
            self.sql += &format!(
                "INSERT INTO sp_action ({AUDIT_COLUMNS}, id, active, forced_time, status, distribution_set, target, rollout, \
                   rollout_group, action_type, weight, initiated_by) \
                 VALUES ({AUDIT}, {action}, {active}, 0, {status}, {SET}, \
                   {target_id}, {ROLLOUT}, {group_id}, 0, 1000, 'admin');\n"
            );
            for status in history {
                self.sql += &format!(
                    "INSERT INTO sp_action_status ({AUDIT_COLUMNS}, target_occurred_at, status, action) \
                     VALUES ({AUDIT}, 1795314690000, {status}, {action});\n"
                );
            }
        }
        if !target.is_empty() {
            self.sql += &format!(
                "UPDATE sp_target SET {target} WHERE id IN \
                   (SELECT target FROM sp_action WHERE rollout = {ROLLOUT} AND status = {status});\n"
            );
        }
        self
    }

    /// Whatever else is to be different.
    pub fn but(mut self, sql: &str) -> Self {
        self.sql += sql;
        self.sql += ";\n";
        self
    }

    /// Writes it to the recorded database and starts Kettle there; `None` where there is no recording.
    pub async fn adopt(self, settings: &[&str]) -> Option<Left> {
        let adopted = Adopted::load().await?;
        adopted.sql(&self.sql);
        for table in ["sp_target", "sp_rollout", "sp_rollout_group", "sp_action"] {
            adopted.sql(&format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"));
        }
        let server = adopted.serve(settings);
        Some(Left { server, adopted })
    }
}

/// Kettle on what the peer left.
pub struct Left {
    pub server: Server,
    pub adopted: Adopted,
}

impl Left {
    pub async fn rollout(&self) -> Value {
        self.server.get(&format!("/rest/v1/rollouts/{ROLLOUT}")).await.expect(200).json()
    }

    pub async fn call(&self, verb: &str) {
        call(&self.server, ROLLOUT, verb).await.expect_empty(204);
    }

    pub async fn reaches(&self, status: &str) -> Value {
        reaches(&self.server, ROLLOUT, status).await
    }

    /// Which of the targets are offered an action, by number.
    pub async fn offered(&self) -> Vec<i64> {
        let mut offered = Vec::new();
        for target in 0..TARGETS {
            if self.server.device(&name(target)).offered().await.is_some() {
                offered.push(target);
            }
        }
        offered
    }

    pub async fn offers(&self, targets: Range<i64>) {
        let expected: Vec<i64> = targets.collect();
        let what = format!("targets {expected:?}, and no others, are offered their actions");
        eventually(WITHIN, &what, async || (self.offered().await == expected).then_some(())).await;
    }

    /// Devices report success for all that they are offered, until the rollout is finished.
    pub async fn finishes(&self) {
        eventually(WITHIN, "the rollout is finished", async || {
            self.report_success(0..TARGETS).await;
            (self.rollout().await["status"] == "finished").then_some(())
        })
        .await;
    }

    pub async fn report_success(&self, targets: Range<i64>) {
        for target in targets {
            let device = self.server.device(&name(target));
            if let Some(action) = device.offered().await {
                device.feedback(action, "closed", "success").await.expect_empty(200);
            }
        }
    }

    /// Every target was served once: it has one action of the rollout, which was started once and ended once, as finished.
    pub async fn each_was_served_once(&self) {
        let once = "1 FINISHED: 1 start, 1 end";
        assert_eq!(self.histories(), vec![once; TARGETS as usize]);
        let rollout = self.rollout().await;
        assert_eq!(rollout["totalTargets"], TARGETS, "{rollout}");
        assert_eq!(rollout["totalTargetsPerStatus"]["finished"], TARGETS, "{rollout}");
        assert_eq!(self.groups(), "FINISHED FINISHED FINISHED");
        let members = "SELECT sum(total_targets), (SELECT count(DISTINCT target) FROM sp_rollout_target_group m \
                         JOIN sp_rollout_group g ON g.id = m.rollout_group WHERE g.rollout = 50), \
                         (SELECT count(*) FROM sp_rollout_target_group m \
                         JOIN sp_rollout_group g ON g.id = m.rollout_group WHERE g.rollout = 50) \
                       FROM sp_rollout_group WHERE rollout = 50";
        assert_eq!(self.adopted.sql(members), "12|12|12", "each is in one group");
    }

    /// Per target, in their order: how many actions of the rollout it has, their status, and their history in numbers.
    pub fn histories(&self) -> Vec<String> {
        let sql = format!(
            "SELECT CASE count(a.id) WHEN 0 THEN 'none' ELSE count(a.id) || ' ' || string_agg(CASE a.status \
               WHEN 0 THEN 'FINISHED' WHEN 1 THEN 'ERROR' WHEN 3 THEN 'RUNNING' WHEN 4 THEN 'CANCELED' \
               WHEN 5 THEN 'CANCELING' WHEN 8 THEN 'SCHEDULED' ELSE a.status::text END, ',') \
               || ': ' || sum((SELECT count(*) FROM sp_action_status s WHERE s.action = a.id AND s.status = 3)) \
               || ' start, ' || sum((SELECT count(*) FROM sp_action_status s WHERE s.action = a.id AND s.status <> 3)) \
               || ' end' END \
             FROM sp_target t LEFT JOIN sp_action a ON a.target = t.id AND a.rollout = {ROLLOUT} \
             WHERE t.controller_id LIKE 'p-%' GROUP BY t.id ORDER BY t.id"
        );
        self.adopted.sql(&sql).lines().map(str::to_owned).collect()
    }

    /// The status of each group, in their order.
    pub fn groups(&self) -> String {
        self.adopted.sql(&format!(
            "SELECT string_agg(CASE status WHEN 0 THEN 'READY' WHEN 1 THEN 'SCHEDULED' WHEN 2 THEN 'FINISHED' \
               WHEN 3 THEN 'ERROR' WHEN 4 THEN 'RUNNING' ELSE 'CREATING' END, ' ' ORDER BY id) \
             FROM sp_rollout_group WHERE rollout = {ROLLOUT}"
        ))
    }
}

pub fn name(target: i64) -> String {
    format!("p-{target:02}")
}
