-- Searches fold case, so the indexes that find targets by name and by controllerId have to.
CREATE INDEX kt_idx_target_controller_id ON sp_target (tenant, upper(controller_id));
CREATE INDEX kt_idx_target_name ON sp_target (tenant, upper(name));
