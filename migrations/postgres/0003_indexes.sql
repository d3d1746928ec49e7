-- Searches fold case, so the indexes that find targets by name and by controllerId have to. text_pattern_ops serves
-- equality and patterns with a known beginning whatever the database's collation is.
-- Indexes only: they can be dropped when a database goes back to hawkBit, and do no harm if they stay.
CREATE INDEX kt_idx_target_controller_id ON sp_target (tenant, upper(controller_id) text_pattern_ops);
CREATE INDEX kt_idx_target_name ON sp_target (tenant, upper(name) text_pattern_ops);
-- The planner knows how selective an expression is only once it has looked.
ANALYZE sp_target;
-- An action that is deleted takes its statuses along, which hawkBit's own index does not find: it begins with the tenant.
CREATE INDEX kt_idx_action_status_action ON sp_action_status (action);
