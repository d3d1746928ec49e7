//! What the state of rollouts costs that have many actions.

use kettle_domain::rollouts::{self, Counters};

use super::{model, *};
use crate::harness::{linger, psql};

const GROUPS: i64 = 20;
const EACH: i64 = 2_000;

/// Two rollouts of ten groups each, a quarter of whose actions are finished, in a database that knows how much there is.
async fn fill(node: &Node) {
    node.create("d1").await;
    let set = model::set(&node.ctx, 1, false).await;
    let count = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n <";
    let statements = [
        format!(
            "INSERT INTO sp_rollout (id, tenant, name, status, distribution_set, action_type, weight, deleted, total_targets) \
             {count} 1) SELECT n + 1, 'DEFAULT', 'r' || n, 6, {set}, 0, 1000, false, {} FROM c",
            10 * EACH
        ),
        format!(
            "INSERT INTO sp_rollout_group (id, tenant, name, rollout, status, success_condition, success_condition_exp, \
             success_action, total_targets) \
             {count} {GROUPS} - 1) SELECT n + 1, 'DEFAULT', 'g' || n, n / 10 + 1, 4, 0, '50', 0, {EACH} FROM c"
        ),
        format!(
            "INSERT INTO sp_action (tenant, status, active, distribution_set, target, rollout, rollout_group, action_type, \
             weight, initiated_by) \
             {count} {GROUPS} * {EACH} - 1) \
             SELECT 'DEFAULT', CASE n % 4 WHEN 0 THEN 0 ELSE 3 END, n % 4 > 0, {set}, (SELECT id FROM sp_target), \
             n / {EACH} / 10 + 1, n / {EACH} + 1, 0, 1000, 'admin' FROM c"
        ),
        "ANALYZE".to_owned(),
    ];
    for statement in statements {
        node.services.db.write().execute_unprepared(&statement).await.unwrap();
    }
}

/// PostgreSQL would read every action there is, for each look of the scheduler of each node.
#[tokio::test]
async fn what_counting_a_group_costs_is_what_it_has() {
    on_each_store(async |store| {
        fill(&Node::start(&store.db).await).await;
        let before = scans(&store, store.db.clone()).await;

        let db = store.another_node().await;
        let node = Node::start(&db).await;
        let counters =
            |groups| Counters { finished: groups * EACH / 4, running: groups * EACH * 3 / 4, ..Counters::default() };
        let one = rollouts::groups::get(&node.ctx, 1, 3).await.unwrap();
        assert_eq!(one.counters, Some(counters(1)));
        let groups = rollouts::groups::list(&node.ctx, 2, &Listing::new(0, 50, None, None), true).await.unwrap();
        assert_eq!(groups.content.len(), 10);
        assert!(groups.content.iter().all(|group| group.counters == Some(counters(1))));
        let whole = rollouts::get(&node.ctx, 2).await.unwrap();
        assert_eq!(whole.details.unwrap().counters, counters(10));
        assert_eq!(scans(&store, db).await, before);
    })
    .await;
}

/// Counting one group of 20,000 took half a second of compiling and eight milliseconds of counting.
#[tokio::test]
async fn postgresql_compiles_no_statements() {
    let store = Store::migrated(Engine::Postgres).await;
    let jit = "SELECT current_setting('jit') AS k";
    assert_eq!(psql(&store.url, jit), "on", "what PostgreSQL does by itself");
    let statement = || store.db.engine().statement(jit, []);
    let read = store.db.read().query_one_raw(statement()).await.unwrap().unwrap();
    let written = store.db.write().query_one_raw(statement()).await.unwrap().unwrap();
    for row in [read, written] {
        assert_eq!(row.try_get::<String>("", "k").unwrap(), "off");
    }
}

/// How often PostgreSQL has read all actions, after the sessions that may have made it are over: then they say what they did.
async fn scans(store: &Store, sessions: Db) -> Option<String> {
    let on_postgres = sessions.engine() == kettle_db::Engine::Postgres;
    sessions.close().await;
    if !on_postgres {
        return None;
    }
    linger(Duration::from_secs(1)).await;
    Some(psql(&store.url, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sp_action'"))
}
