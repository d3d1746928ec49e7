-- Searches fold case, so the indexes that find targets by name and by controllerId have to.
CREATE INDEX kt_idx_target_controller_id ON sp_target (tenant, upper(controller_id));
CREATE INDEX kt_idx_target_name ON sp_target (tenant, upper(name));
-- An action that is deleted takes its statuses along, which hawkBit's own index does not find: it begins with the tenant.
CREATE INDEX kt_idx_action_status_action ON sp_action_status (action);
