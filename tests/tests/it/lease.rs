//! Leases (`kettle_cluster::Lease`): one holder at a time by the database's clock, and no work of a former one.

use std::{pin::pin, time::Duration};

use kettle_cluster::{Clock, Event, Events, Lease, LeaseError, Tx};
use kettle_db::{Db, sea_orm::ConnectionTrait as _};
use tokio::time::timeout;

use crate::harness::{Engine, Store, on_each_store};

const LONG: Duration = Duration::from_secs(60);
/// A lease taken for no time has run out at once, by the database's own clock.
const NONE: Duration = Duration::ZERO;
/// Long enough to see that something waits.
const A_WHILE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_that_ask_at_once_gets_it() {
    on_each_store(async |store| {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            nodes.push(store.another_node().await);
        }
        for round in 0..5 {
            let name = format!("job-{round}");
            let asks = (0..8).map(|n| {
                let (db, name) = (nodes[n % nodes.len()].clone(), name.clone());
                async move { Lease::acquire(&db, &name, &format!("node-{n}"), LONG).await.unwrap() }
            });
            let got = futures_util::future::join_all(asks).await.into_iter().flatten().count();
            assert_eq!(got, 1, "round {round}");
        }
    })
    .await;
}

#[tokio::test]
async fn leases_of_different_names_are_held_side_by_side() {
    on_each_store(async |store| {
        assert!(acquire(&store.db, "a", LONG).await.is_some());
        let other = Lease::acquire(&store.db, "other", "b", LONG).await.unwrap();
        assert!(other.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_lease_passes_on_when_it_has_run_out_and_its_epoch_grows() {
    on_each_store(async |store| {
        let first = acquire(&store.db, "a", LONG).await;
        assert!(first.is_some());
        assert_eq!(row(&store).await, ("a".to_owned(), 1));
        assert!(acquire(&store.db, "b", LONG).await.is_none(), "it is held");
        assert_eq!(row(&store).await, ("a".to_owned(), 1));

        store.execute("UPDATE kt_lease SET expires_at = 0").await;
        assert!(acquire(&store.db, "b", NONE).await.is_some(), "it had run out");
        assert_eq!(row(&store).await, ("b".to_owned(), 2));
        assert!(acquire(&store.db, "b", LONG).await.is_some(), "its last holder may have it again");
        assert_eq!(row(&store).await, ("b".to_owned(), 3));
    })
    .await;
}

#[tokio::test]
async fn a_lease_expires_by_the_clock_of_the_database() {
    on_each_store(async |store| {
        acquire(&store.db, "a", LONG).await.unwrap();
        let left = format!("SELECT expires_at - {} AS n FROM kt_lease", store.db.engine().now_ms());
        let left = store.number(&left).await;
        assert!((1..=60_000).contains(&left), "{left} ms of 60,000 are left");
    })
    .await;
}

#[tokio::test]
async fn nothing_that_a_former_holder_wrote_is_committed() {
    on_each_store(async |store| {
        let events = Events::new("a".into());
        let former = acquire(&store.db, "a", NONE).await.unwrap();
        let current = acquire(&store.db, "b", LONG).await.unwrap();

        let error = work(&store.db, &events, &former, "former").await.unwrap_err();
        assert!(matches!(&error, LeaseError::Lost(name) if name == JOB), "{error:?}");
        work(&store.db, &events, &current, "current").await.unwrap();
        assert_eq!(done(&store).await, ["current"]);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox").await, 1);
    })
    .await;
}

#[tokio::test]
async fn the_same_node_cannot_work_under_its_earlier_epoch() {
    on_each_store(async |store| {
        let events = Events::new("a".into());
        let earlier = acquire(&store.db, "a", NONE).await.unwrap();
        acquire(&store.db, "a", LONG).await.unwrap();
        assert!(matches!(work(&store.db, &events, &earlier, "x").await, Err(LeaseError::Lost(_))));
        assert!(!earlier.refresh(&store.db).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn refreshing_extends_a_lease_until_it_has_passed_on() {
    on_each_store(async |store| {
        let a = acquire(&store.db, "a", LONG).await.unwrap();
        let run_out = async || store.execute("UPDATE kt_lease SET expires_at = 0").await;
        run_out().await;
        assert!(a.refresh(&store.db).await.unwrap(), "run out, but nobody took it");
        assert!(acquire(&store.db, "b", LONG).await.is_none(), "it was extended");
        run_out().await;
        let b = acquire(&store.db, "b", LONG).await.unwrap();
        assert!(!a.refresh(&store.db).await.unwrap(), "it has passed on");
        assert_eq!(row(&store).await, ("b".to_owned(), 2));
        assert!(b.refresh(&store.db).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn releasing_hands_over_at_once() {
    on_each_store(async |store| {
        let a = acquire(&store.db, "a", LONG).await.unwrap();
        let late = a.clone();
        assert!(acquire(&store.db, "b", LONG).await.is_none());
        a.release(&store.db).await.unwrap();
        assert!(acquire(&store.db, "b", LONG).await.is_some());
        late.release(&store.db).await.unwrap();
        assert!(acquire(&store.db, "c", LONG).await.is_none(), "a former holder's release takes it from nobody");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_waits_for_the_work_under_way_and_none_is_committed_after_it() {
    on_each_store(async |store| {
        let events = Events::new("a".into());
        let a = acquire(&store.db, "a", NONE).await.unwrap();
        let tx = begin(&store.db, &events).await;
        a.fence(&tx).await.unwrap();

        let other = store.another_node().await;
        let mut take_over = pin!(acquire(&other, "b", LONG));
        assert!(timeout(A_WHILE, &mut take_over).await.is_err(), "it passed on under the work");
        write(&tx, "before").await;
        let now = format!("SELECT {} AS n", store.db.engine().now_ms());
        let waited_until = store.number(&now).await;
        tx.commit().await.unwrap();
        let b = timeout(PATIENCE, take_over).await.expect("the take-over ends with the work").unwrap();

        assert!(matches!(work(&store.db, &events, &a, "after").await, Err(LeaseError::Lost(_))));
        assert_eq!(done(&store).await, ["before"]);
        let time = store.number("SELECT expires_at AS n FROM kt_lease").await - waited_until;
        assert!(time >= 60_000, "its time counts from the take-over, not from before the wait: {time} ms");
        work(&other, &events, &b, "new holder").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_meets_a_take_over_under_way_waits_and_fails() {
    let store = Store::migrated(Engine::Postgres).await;
    let events = Events::new("a".into());
    let a = acquire(&store.db, "a", NONE).await.unwrap();
    let take_over = store.db.begin().await.unwrap();
    take_over.execute_unprepared("UPDATE kt_lease SET holder = 'b', epoch = epoch + 1").await.unwrap();

    let mut late = pin!(work(&store.db, &events, &a, "late"));
    assert!(timeout(A_WHILE, &mut late).await.is_err(), "it did not wait");
    take_over.commit().await.unwrap();
    let result = timeout(PATIENCE, late).await.expect("the fence ends with the take-over");
    assert!(matches!(result, Err(LeaseError::Lost(_))), "{result:?}");
    assert!(done(&store).await.is_empty());
}

#[tokio::test]
async fn transactions_of_the_holder_go_on_side_by_side() {
    let store = Store::migrated(Engine::Postgres).await;
    let events = Events::new("a".into());
    let lease = acquire(&store.db, "a", LONG).await.unwrap();
    let (one, two) = (begin(&store.db, &events).await, begin(&store.db, &events).await);
    lease.fence(&one).await.unwrap();
    timeout(PATIENCE, lease.fence(&two)).await.expect("fences share").unwrap();
    two.commit().await.unwrap();
    one.commit().await.unwrap();
}

const JOB: &str = "job";

async fn acquire(db: &Db, holder: &str, ttl: Duration) -> Option<Lease> {
    Lease::acquire(db, JOB, holder, ttl).await.unwrap()
}

/// A transaction as jobs write it: the work, the fence, an event. Without a commit all of it is rolled back.
async fn work(db: &Db, events: &Events, lease: &Lease, note: &str) -> Result<(), LeaseError> {
    let mut tx = begin(db, events).await;
    write(&tx, note).await;
    lease.fence(&tx).await?;
    tx.emit(Event::TenantConfigurationChanged { tenant: note.into() });
    Ok(tx.commit().await?)
}

async fn begin(db: &Db, events: &Events) -> Tx {
    Tx::begin(db, events, &Clock::system()).await.unwrap()
}

async fn write(tx: &Tx, note: &str) {
    let sql = "INSERT INTO kt_total (tenant, name, delta) VALUES ('T', $1, 1)";
    tx.execute_raw(tx.engine().statement(sql, [note.into()])).await.unwrap();
}

async fn done(store: &Store) -> Vec<String> {
    let rows = store.rows("SELECT name FROM kt_total ORDER BY id", []).await;
    rows.iter().map(|row| row.try_get("", "name").unwrap()).collect()
}

async fn row(store: &Store) -> (String, i64) {
    let rows = store.rows("SELECT holder, epoch FROM kt_lease WHERE name = $1", [JOB.into()]).await;
    (rows[0].try_get("", "holder").unwrap(), rows[0].try_get("", "epoch").unwrap())
}
