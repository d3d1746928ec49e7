-- What one node of a role is to act on, at least once, in the order written: rows go when it is done.
CREATE TABLE kt_service_event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   VARCHAR(36) NOT NULL,
    tenant     VARCHAR(40) NOT NULL,
    kind       VARCHAR(64) NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Short-lived rights to download one artifact without further authentication.
CREATE TABLE kt_download_id (
    id            VARCHAR(36) NOT NULL,
    tenant        VARCHAR(40) NOT NULL,
    controller_id VARCHAR(256) NOT NULL,
    artifact      BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    CONSTRAINT kt_download_id_pkey PRIMARY KEY (id)
);
CREATE INDEX kt_idx_download_id_expires_at ON kt_download_id (expires_at);
