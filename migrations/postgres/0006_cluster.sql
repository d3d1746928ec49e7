-- What makes several nodes one server, beside leases and events.

-- The oldest Kettle schema whose program still works beside this migration. 0: only this one and later ones.
ALTER TABLE kt_migration ADD COLUMN works_from bigint NOT NULL DEFAULT 0;

-- A row per node, written anew every few seconds: times are the database's, so that all nodes mean the same by them.
CREATE TABLE kt_node (
    id             varchar(36) NOT NULL,
    address        varchar(255) NOT NULL,
    roles          varchar(64) NOT NULL,
    version        varchar(32) NOT NULL,
    schema_version bigint NOT NULL,
    started_at     bigint NOT NULL,
    seen_at        bigint NOT NULL,
    -- How long the node's last events of others were under way, in milliseconds.
    event_lag      bigint NOT NULL,
    -- Since when events of this node wait for the broker; null if none does.
    untold_since   bigint,
    CONSTRAINT kt_node_pkey PRIMARY KEY (id)
);

-- A service event of another server on the same broker is taken once, however often it is delivered.
CREATE UNIQUE INDEX kt_idx_service_event_event_id ON kt_service_event (event_id);
CREATE TABLE kt_taken_event (
    event_id varchar(36) NOT NULL,
    taken_at bigint NOT NULL,
    CONSTRAINT kt_taken_event_pkey PRIMARY KEY (event_id)
);
CREATE INDEX kt_idx_taken_event_taken_at ON kt_taken_event (taken_at);

-- Over a broker, until when everything is told that a node announced. The row goes with a node that leaves nothing.
CREATE TABLE kt_told (
    node       varchar(64) NOT NULL,
    told_until bigint NOT NULL,
    seen_at    bigint NOT NULL,
    CONSTRAINT kt_told_pkey PRIMARY KEY (node)
);

-- Logins that hold on every node: the key is a digest of what the client shows.
CREATE TABLE kt_session (
    id         varchar(64) NOT NULL,
    -- A digest of the same and of what is configured of the user: another user's, or a changed one's, is no session.
    proof      varchar(64) NOT NULL,
    username   varchar(255) NOT NULL,
    created_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    expires_at bigint NOT NULL,
    CONSTRAINT kt_session_pkey PRIMARY KEY (id)
);
CREATE INDEX kt_idx_session_expires_at ON kt_session (expires_at);
CREATE INDEX kt_idx_session_username ON kt_session (username);

-- Logins that failed one after the other, by user and by address. How long others are refused then follows from it.
CREATE TABLE kt_failed_login (
    kind         varchar(16) NOT NULL,
    subject      varchar(255) NOT NULL,
    failures     bigint NOT NULL,
    failed_at    bigint NOT NULL,
    CONSTRAINT kt_failed_login_pkey PRIMARY KEY (kind, subject)
);
CREATE INDEX kt_idx_failed_login_failed_at ON kt_failed_login (failed_at);
