-- What Kettle keeps beyond hawkBit's tables: leases, the outbox of changes, and totals kept as deltas.
-- Same tables as on PostgreSQL so that the code above need not know which database it talks to.
-- No sp_* table refers to anything here.

-- A node holds a lease until expires_at (epoch ms). The epoch grows with every change of holder.
CREATE TABLE kt_lease (
    name       VARCHAR(128) NOT NULL,
    holder     VARCHAR(64) NOT NULL,
    epoch      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT kt_lease_pkey PRIMARY KEY (name)
);

-- No xid as on PostgreSQL: SQLite has one writer at a time, so the order of ids is the order of commits.
CREATE TABLE kt_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    node       VARCHAR(64) NOT NULL,
    tenant     VARCHAR(40),
    kind       VARCHAR(64) NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX kt_idx_outbox_created_at ON kt_outbox (created_at);

-- A total is the sum of its deltas. A job folds the rows of one total into a single one.
CREATE TABLE kt_total (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant VARCHAR(40) NOT NULL,
    name   VARCHAR(40) NOT NULL,
    delta  BIGINT NOT NULL
);
CREATE INDEX kt_idx_total_name ON kt_total (tenant, name);
