//! Kept totals: how many rows a tenant has, without counting them on every list.
//!
//! Each transaction that adds or removes rows adds its difference as a row of `kt_total`; a reader sums the few rows,
//! and a job folds them into one. Derived data: [`rebuild`] corrects it at start, when rows may have come from hawkBit
//! or from a backup.

use kettle_cluster::{JobContext, Lease, LeaseError, Tx};
use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DbErr};

/// The kept total of targets.
pub const TARGETS: &str = "targets";

/// Notes `delta` more rows, in the transaction that adds or removes them.
pub(crate) async fn add(tx: &Tx, tenant: &str, name: &str, delta: i64) -> Result<(), DbErr> {
    if delta == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO kt_total (tenant, name, delta) VALUES ($1, $2, $3)";
    tx.execute_raw(tx.engine().statement(sql, [tenant.into(), name.into(), delta.into()])).await?;
    Ok(())
}

pub(crate) async fn read(db: &impl ConnectionTrait, engine: Engine, tenant: &str, name: &str) -> Result<u64, DbErr> {
    let sql = "SELECT CAST(coalesce(sum(delta), 0) AS bigint) AS total FROM kt_total WHERE tenant = $1 AND name = $2";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into(), name.into()])).await?;
    let total: i64 = row.map(|r| r.try_get("", "total")).transpose()?.unwrap_or(0);
    Ok(u64::try_from(total).unwrap_or(0))
}

/// Corrects the totals by what the tables hold. Both are counted in one statement, so from one view of the data, and
/// writers that come meanwhile add their own differences.
pub async fn rebuild(db: &Db) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    if db.engine() == Engine::Postgres {
        // Two nodes that start together must not both correct the same difference. Writers are not held up.
        tx.execute_unprepared("SELECT pg_advisory_xact_lock(hashtext('kt_total'))").await?;
    }
    let sql = "INSERT INTO kt_total (tenant, name, delta) \
               SELECT tenant, $1, CAST(sum(n) AS bigint) FROM ( \
                 SELECT tenant, count(*) AS n FROM sp_target GROUP BY tenant \
                 UNION ALL SELECT tenant, -sum(delta) FROM kt_total WHERE name = $1 GROUP BY tenant \
               ) AS d GROUP BY tenant HAVING sum(n) <> 0";
    tx.execute_raw(db.engine().statement(sql, [TARGETS.into()])).await?;
    tx.commit().await
}

/// Folds the differences of each tenant into one row. Rows written meanwhile are left for the next pass.
pub async fn fold(ctx: &JobContext, lease: &Lease) -> Result<(), LeaseError> {
    let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
    lease.fence(&tx).await?;
    let engine = tx.engine();
    let sql = "SELECT tenant, name, max(id) AS last, count(*) AS rows FROM kt_total GROUP BY tenant, name HAVING count(*) > 1";
    for row in tx.query_all_raw(engine.statement(sql, [])).await? {
        let (tenant, name): (String, String) = (row.try_get("", "tenant")?, row.try_get("", "name")?);
        let last: i64 = row.try_get("", "last")?;
        let sql = "DELETE FROM kt_total WHERE tenant = $1 AND name = $2 AND id <= $3 RETURNING delta";
        let values = [tenant.as_str().into(), name.as_str().into(), last.into()];
        let mut sum = 0;
        for row in tx.query_all_raw(engine.statement(sql, values)).await? {
            sum += row.try_get::<i64>("", "delta")?;
        }
        add(&tx, &tenant, &name, sum).await?;
    }
    Ok(tx.commit().await?)
}
