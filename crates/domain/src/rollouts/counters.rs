//! How far rollouts and groups are: their actions by status, as sums over the index of actions by group (semantics.md B7).

use std::collections::HashMap;

use super::{Group, Model, advance::Counts, store};
use crate::{
    actions::{ActionStatus, ActionType},
    ctx::Ctx,
    error::Result,
};

/// Targets by what became of their actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub scheduled: i64,
    pub running: i64,
    pub error: i64,
    pub finished: i64,
    pub cancelled: i64,
    /// Targets without an action. Less than none if there are more actions than targets.
    pub not_started: i64,
}

impl Counters {
    /// Of `total` targets before any action was made for them.
    pub(super) fn not_started(total: i64) -> Counters {
        Counters { not_started: total, ..Counters::default() }
    }

    pub(super) fn new(total: i64, action_type: ActionType, actions: &Counts) -> Counters {
        let of = |status| actions.get(status);
        let downloaded = if action_type == ActionType::DownloadOnly { of(ActionStatus::Downloaded) } else { 0 };
        let counters = Counters {
            scheduled: of(ActionStatus::Scheduled),
            running: 0,
            error: of(ActionStatus::Error),
            finished: of(ActionStatus::Finished) + downloaded,
            cancelled: of(ActionStatus::Canceled),
            not_started: total - actions.all(),
        };
        let Counters { scheduled, error, finished, cancelled, .. } = counters;
        Counters { running: actions.all() - scheduled - error - finished - cancelled, ..counters }
    }
}

/// The counters of rollouts, in one statement for all.
pub(super) async fn of_rollouts(ctx: &Ctx, rollouts: &[Model]) -> Result<HashMap<i64, Counters>> {
    let ids: Vec<i64> = rollouts.iter().map(|rollout| rollout.id).collect();
    let all = store::counts_of_rollouts(ctx.db().read(), ctx.engine(), ctx.tenant_id(), &ids).await?;
    let counters = |r: &Model| (r.id, Counters::new(r.total(), r.action_type(), &Counts::of(&all, r.id)));
    Ok(rollouts.iter().map(counters).collect())
}

/// The counters of groups of one rollout, in one statement for all.
pub(super) async fn of_groups(ctx: &Ctx, action_type: ActionType, groups: &[Group]) -> Result<HashMap<i64, Counters>> {
    let ids: Vec<i64> = groups.iter().map(|group| group.id).collect();
    let all = store::counts(ctx.db().read(), ctx.engine(), ctx.tenant_id(), &ids).await?;
    let counters = |g: &Group| (g.id, Counters::new(g.total(), action_type, &Counts::of(&all, g.id)));
    Ok(groups.iter().map(counters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_counts_once() {
        use ActionStatus::*;
        let actions = [
            (1, Scheduled.code(), 1),
            (1, Error.code(), 2),
            (1, Finished.code(), 4),
            (1, Canceled.code(), 8),
            (1, Running.code(), 16),
            (1, Retrieved.code(), 32),
            (1, Warning.code(), 64),
            (1, Download.code(), 128),
            (1, WaitForConfirmation.code(), 256),
            (1, Canceling.code(), 512),
            (1, Downloaded.code(), 1024),
        ];
        let actions = Counts::of(&actions, 1);
        let expected = Counters { scheduled: 1, running: 2032, error: 2, finished: 4, cancelled: 8, not_started: 1 };
        assert_eq!(Counters::new(2048, ActionType::Forced, &actions), expected);
        let expected = Counters { running: 1008, finished: 1028, ..expected };
        assert_eq!(Counters::new(2048, ActionType::DownloadOnly, &actions), expected);
        assert_eq!(
            Counters::new(3, ActionType::Soft, &Counts::default()),
            Counters { not_started: 3, ..Counters::default() }
        );
    }
}
