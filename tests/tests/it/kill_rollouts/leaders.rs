//! Who is killed is the node that holds the rollout's lease, while it is in the middle of the phase: a target that the test
//! holds in the database keeps the phase from ending before.

use std::ops::RangeInclusive;

use kettle_db::sea_orm::{ConnectionTrait as _, DatabaseTransaction};
use kettle_domain::{
    actions::ActionStatus::{Canceled, Canceling, Finished, Running, Scheduled},
    rollouts::GroupStatus,
};
use rand::Rng as _;

use super::{FLEET, Fleet, GROUPS, REST, ROLLOUTS, delete, finished, post, tally};
use crate::harness::{Server, eventually};

/// By their numbers, the targets of the second group and of the third. A request that starts a group starts the first thousand
/// itself.
const SECOND: RangeInclusive<i64> = 111..=6050;
const THIRD_LATE: RangeInclusive<i64> = 7500..=FLEET;
const ALL: RangeInclusive<i64> = 1..=FLEET;
const GROUPS_UNDER_WAY: RangeInclusive<i64> = 111..=FLEET;

/// A target that nobody else can write, nor refer to.
struct Held {
    tx: DatabaseTransaction,
    /// The backend of it.
    pid: i32,
}

impl Fleet {
    /// One rollout that ends by being stopped, and one that ends by being deleted.
    pub(super) async fn outlives_its_leaders(&mut self) {
        let [first, second, third] = GROUPS;
        let plan = self.plan("stopped").await;
        let held = self.hold_one_of(ALL).await;
        self.rollout = self.any_node().post(ROLLOUTS, plan).await.expect(201).id();
        self.leader_dies(held, "creating").await;
        self.is_filled().await;

        let path = format!("{ROLLOUTS}/{}", self.rollout);
        let held = self.hold_one_of(ALL).await;
        assert!(post(self.any_node(), &format!("{path}/start")).await);
        self.leader_dies(held, "starting").await;
        let started = tally(&[(first, Running, true, 1), (second, Scheduled, false, 0), (third, Scheduled, false, 0)]);
        self.rests("running", &started).await;

        let held = self.hold_one_of(SECOND).await;
        for (action, id) in self.first_group().await {
            assert_eq!(finished(self.any_node(), &id, action).await, Some(200));
        }
        self.leader_dies(held, "running g2").await;
        let goes_on = [(first, Finished, false, 2), (second, Running, true, 1), (third, Scheduled, false, 0)];
        self.rests("running", &tally(&goes_on)).await;

        let held = self.hold_one_of(THIRD_LATE).await;
        assert!(post(self.any_node(), &format!("{path}/triggerNextGroup")).await);
        self.leader_dies(held, "running g3").await;
        let all_run = [(first, Finished, false, 2), (second, Running, true, 1), (third, Running, true, 1)];
        self.rests("running", &tally(&all_run)).await;

        let held = self.hold_one_of(GROUPS_UNDER_WAY).await;
        assert!(post(self.any_node(), &format!("{path}/stop")).await);
        self.leader_dies(held, "stopping").await;
        self.rests("stopped", &self.ended(Canceling, true)).await;

        self.is_created_undisturbed("deleted").await;
        let path = format!("{ROLLOUTS}/{}", self.rollout);
        assert!(post(self.any_node(), &format!("{path}/start")).await);
        self.rests("running", &started).await;
        let held = self.hold_one_of(1..=GROUPS[0].1).await;
        assert!(delete(self.any_node(), &path).await);
        self.leader_dies(held, "deleting").await;
        let none = |(name, targets): (&str, i64)| ((name.to_owned(), None), targets);
        let left = tally(&[(first, Canceled, false, 2)]).into_iter().chain([none(second), none(third)]);
        self.rests("deleted", &left.collect()).await;
    }

    fn any_node(&mut self) -> &Server {
        let other = self.random.random_bool(0.5);
        self.survivor.as_ref().filter(|_| other).unwrap_or(&self.server)
    }

    async fn hold_one_of(&mut self, targets: RangeInclusive<i64>) -> Held {
        let engine = self.store.db.engine();
        let tx = self.store.db.begin().await.unwrap();
        let sql = "SELECT pg_backend_pid() AS pid FROM sp_target WHERE controller_id = $1 FOR UPDATE";
        let id = format!("d{}", self.random.random_range(targets));
        let row = tx.query_one_raw(engine.statement(sql, [id.into()])).await.unwrap().expect("a target");
        Held { tx, pid: row.try_get("", "pid").unwrap() }
    }

    /// Kills the node that holds the rollout's lease when it meets what is held, has another one take over when the lease has run out,
    /// and starts it again. `phase` is the rollout's status, and the group that is being started.
    async fn leader_dies(&mut self, held: Held, phase: &str) {
        // Who reads the lease's row in the transaction of a batch has that lock.
        let at_work = format!(
            "SELECT count(*) AS n FROM pg_locks l WHERE {} = ANY (pg_blocking_pids(l.pid)) \
             AND l.relation = 'kt_lease'::regclass AND l.mode = 'RowShareLock'",
            held.pid
        );
        let store = &self.store;
        eventually(REST, "a batch meets it", async || (store.number(&at_work).await > 0).then_some(())).await;
        let (leader, epoch) = self.lease_after(0).await.expect("a lease");
        let survivor = self.survivor.as_mut().expect("another node");
        if leader == survivor.port {
            std::mem::swap(&mut self.server, survivor);
        }
        assert_eq!(leader, self.server.port, "one of the two holds the lease");
        self.server.kill9();
        let (status, group) = phase.split_once(' ').unwrap_or((phase, ""));
        assert_eq!(self.status().await, status, "it is killed in the middle of its work");
        let waiting = format!(
            "SELECT count(*) AS n FROM sp_action a JOIN sp_rollout_group g ON g.id = a.rollout_group \
             WHERE g.rollout = {} AND g.name = '{group}' AND g.status = {} AND a.status = {}",
            self.rollout,
            GroupStatus::Running.code(),
            Scheduled.code()
        );
        assert_eq!(self.store.number(&waiting).await > 0, !group.is_empty(), "actions of {phase} wait to be started");
        held.tx.rollback().await.unwrap();
        let next = eventually(REST, "the other takes over", async || self.lease_after(epoch).await).await;
        assert_eq!(next.0, self.worker().port);
        eprintln!("{phase}: {} took over from {leader}", next.0);
        self.server.restart();
    }

    /// The port of the node that holds the rollout's lease, and its epoch, if that is above `epoch`.
    async fn lease_after(&self, epoch: i64) -> Option<(u16, i64)> {
        let sql = "SELECT n.address, l.epoch FROM kt_lease l JOIN kt_node n ON n.id = l.holder \
                   WHERE l.name = $1 AND l.epoch > $2";
        let rows = self.store.rows(sql, [format!("rollout-{}", self.rollout).into(), epoch.into()]).await;
        let row = rows.first()?;
        let address: String = row.try_get("", "address").unwrap();
        let (_, port) = address.rsplit_once(':').expect("a port");
        Some((port.parse().unwrap(), row.try_get("", "epoch").unwrap()))
    }
}
