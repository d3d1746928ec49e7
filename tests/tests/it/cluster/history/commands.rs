//! What gateways were told, held against what they were owed: each service event was handled at least once.
//!
//! The tests close what is superseded (autoclose), so a target has one action under way at most, and an action that is over
//! before its turn to be sent has come is rightly not sent. Owed is what can't have been over then:
//!
//! * of an action that was finished, the update, because nobody finishes what they were not told of;
//! * of one that gave way to another one or was cancelled, the update, if before that was asked for a gateway had read something
//!   that was asked for when this action was acknowledged already: commands are made and sent in the order of their causes;
//! * of an action that ended as cancelled after somebody asked for that, the cancelation, also if a newer one closed it before the
//!   gateway had answered.

use std::{collections::HashSet, time::Instant};

use super::{
    World,
    record::{Command, Written},
};
use crate::harness::Store;

/// FINISHED and ERROR.
const BY_DEVICE: [i32; 2] = [0, 1];
const CANCELED: i32 = 4;

/// An action of a target that a gateway speaks for.
struct Action {
    target: String,
    id: i64,
    set: i64,
    status: i32,
    /// Somebody asked for its cancelation.
    canceling: bool,
}

pub async fn missing(world: &World, store: &Store) -> Vec<String> {
    let sql = "SELECT t.controller_id, a.id, a.distribution_set, a.status, EXISTS \
               (SELECT 1 FROM sp_action_status s WHERE s.action = a.id AND s.status = 5) AS canceling \
               FROM sp_action a JOIN sp_target t ON t.id = a.target WHERE t.address LIKE 'amqp:%' ORDER BY t.id, a.id";
    let rows = store.rows(sql, []).await;
    let action = |row: &kettle_db::sea_orm::QueryResult| Action {
        target: row.try_get("", "controller_id").unwrap(),
        id: row.try_get("", "id").unwrap(),
        set: row.try_get("", "distribution_set").unwrap(),
        status: row.try_get("", "status").unwrap(),
        canceling: row.try_get("", "canceling").unwrap(),
    };
    let actions: Vec<Action> = rows.iter().map(action).collect();
    world.record.write(|written| compare(&actions, written))
}

fn compare(actions: &[Action], written: &Written) -> Vec<String> {
    let told = |cancels: bool| -> HashSet<i64> {
        written.commands.iter().filter(|command| command.cancels == cancels).map(|command| command.action).collect()
    };
    let (updates, cancels) = (told(false), told(true));
    let assignment = |action: &Action| written.assignments.get(&(action.target.clone(), action.set));
    // When what was read was asked for, and when it was read.
    let asked = |command: &Command| match command.cancels {
        true => written.cancelations.get(&command.action).map(|(_, asked)| *asked),
        false => actions.iter().find(|it| it.id == command.action).and_then(assignment).map(|it| it.asked),
    };
    let in_order = written.commands.iter().filter(|command| command.in_order);
    let read: Vec<(Instant, Instant)> = in_order.filter_map(|command| Some((asked(command)?, command.read))).collect();
    let mut wrong = Vec::new();
    for (number, action) in actions.iter().enumerate() {
        let next = actions.get(number + 1).filter(|next| next.target == action.target);
        let replaced = next.and_then(assignment).map(|it| it.asked);
        let canceled = written.cancelations.get(&action.id).map(|(_, asked)| *asked);
        let open_until = replaced.into_iter().chain(canceled).min();
        let its_turn_came = assignment(action).and_then(|it| it.done).is_some_and(|(_, known)| {
            read.iter().any(|(asked, read)| *asked > known && open_until.is_none_or(|until| *read < until))
        });
        let what = format!("action {} of {}, now in status {}", action.id, action.target, action.status);
        if (BY_DEVICE.contains(&action.status) || its_turn_came) && !updates.contains(&action.id) {
            wrong.push(format!("{what}: no gateway was told of it"));
        }
        if action.canceling && action.status == CANCELED && !cancels.contains(&action.id) {
            wrong.push(format!("{what}: no gateway was told to cancel it"));
        }
    }
    wrong
}
