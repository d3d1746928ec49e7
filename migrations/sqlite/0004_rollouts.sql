-- How many actions of a group are in which status, and which are to be started: a rollout's counters are sums over this
-- index, and its steps find their rows by it. hawkBit's tables have no index on the group.
CREATE INDEX kt_idx_action_rollout_group ON sp_action (rollout_group, status) WHERE (rollout_group IS NOT NULL);

-- The groups of a rollout. hawkBit's tables have no index for them.
CREATE INDEX kt_idx_rollout_group_rollout ON sp_rollout_group (rollout);

-- Why the last pass over a rollout failed, while it does: what the explanation of a rollout says.
CREATE TABLE kt_rollout_failure (
    rollout  bigint NOT NULL,
    tenant   varchar(40) NOT NULL,
    message  text NOT NULL,
    since    bigint NOT NULL,
    attempts integer NOT NULL,
    CONSTRAINT kt_rollout_failure_pkey PRIMARY KEY (rollout)
);
