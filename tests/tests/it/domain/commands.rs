//! What gateways are told (`kettle_domain::commands`): which changes they are to hear of, and what they are sent then.

mod causes;

use kettle_cluster::{
    ServiceEvent,
    service::{self, Tenants, Written},
};
use kettle_domain::{
    Kind,
    actions::{self, ActionType, Execution, Feedback, Request, WindowText},
    commands::{self, Addressed, Command},
    error::Error,
};

use super::*;

const GATEWAY: &str = "amqp:/gw";
/// Schedules of windows: every hour, and long after [`NOW`].
const OPEN: &str = "0 0 * * * ?";
const SHUT: &str = "0 0 3 * * ? 2098";

#[tokio::test]
async fn an_update_says_what_to_do_and_with_which_files() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        let module = store.number(&format!("SELECT sm_id AS n FROM sp_ds_sm WHERE ds_id = {set}")).await;
        for (key, visible) in [("seen", true), ("also", true), ("hidden", false)] {
            store
                .execute(&format!(
                    "INSERT INTO sp_sm_metadata (meta_key, meta_value, sm, target_visible) \
                     VALUES ('{key}', 'of {key}', {module}, {visible})"
                ))
                .await;
        }
        for name in ["b.bin", "a.bin"] {
            store
                .execute(&format!(
                    "INSERT INTO sp_artifact (tenant, last_modified_at, optlock_revision, md5_hash, file_size, \
                     provided_file_name, sha1_hash, software_module) \
                     VALUES ('DEFAULT', 77, 1, 'm', 11, '{name}', 's', {module})"
                ))
                .await;
        }
        node.behind_gateway(&["d1"]).await;
        let action = node.give("d1", set).await;
        let token = node.shown("d1").await.target.sec_token;
        let commands = [node.expand_all().await, node.next(&["d1"]).await].concat();
        assert_eq!(said(&commands), vec![format!("d1@{GATEWAY} DownloadAndInstall {action}"); 2]);
        for addressed in commands {
            let Command::Update { security_token, modules, .. } = addressed.command else { panic!("an update") };
            assert_eq!(security_token, token);
            let [chunk] = &modules[..] else { panic!("one module") };
            assert_eq!((chunk.module.id, chunk.type_key.as_str()), (module, "os"));
            let entries = [("also", "of also"), ("seen", "of seen")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(chunk.metadata, entries);
            let files: Vec<_> = chunk.artifacts.iter().map(|a| a.provided_file_name.as_deref().unwrap()).collect();
            assert_eq!(files, ["b.bin", "a.bin"], "in the order of their upload");
            assert_eq!(chunk.artifacts[0].last_modified_at, Some(77));
        }
    })
    .await;
}

#[tokio::test]
async fn the_kind_of_an_update_is_what_its_action_allows_when_it_is_sent() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let window = |schedule: &str| {
            Some(WindowText { schedule: schedule.into(), duration: "23:00:00".into(), timezone: "+00:00".into() })
        };
        for (id, action_type, window, expected) in [
            ("forced", ActionType::Forced, None, "DownloadAndInstall"),
            ("soft", ActionType::Soft, None, "DownloadAndInstall"),
            ("timed", ActionType::TimeForced, None, "DownloadAndInstall"),
            ("download", ActionType::DownloadOnly, None, "Download"),
            ("open", ActionType::Forced, window(OPEN), "DownloadAndInstall"),
            ("shut", ActionType::Forced, window(SHUT), "Download"),
            ("download-open", ActionType::DownloadOnly, window(OPEN), "Download"),
        ] {
            node.behind_gateway(&[id]).await;
            let request = Request { action_type, window, ..request(id, node.set().await) };
            let action = node.give_as(request).await;
            let expected = vec![format!("{id}@{GATEWAY} {expected} {action}")];
            assert_eq!(said(&node.expand_all().await), expected);
            assert_eq!(said(&node.next(&[id]).await), expected);
        }
        node.configure("user.confirmation.flow.enabled", "true").await;
        node.behind_gateway(&["waits", "goes-on"]).await;
        let set = node.set().await;
        let waits = node.give_as(Request { window: window(SHUT), ..request("waits", set) }).await;
        let goes_on = node.give_as(Request { confirmation_required: Some(false), ..request("goes-on", set) }).await;
        let expected =
            [format!("waits@{GATEWAY} Confirm {waits}"), format!("goes-on@{GATEWAY} DownloadAndInstall {goes_on}")];
        assert_eq!(said(&node.expand_all().await), expected);
        assert_eq!(said(&node.next(&["waits", "goes-on"]).await), expected);
    })
    .await;
}

#[tokio::test]
async fn next_is_the_active_action_with_the_highest_weight_then_the_lowest_id() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.behind_gateway(&["d1", "idle"]).await;
        let mut ids = Vec::new();
        for weight in [500, 700, 700] {
            let set = node.set().await;
            // What has a migration step is not put aside by what comes after it.
            store
                .execute(&format!("UPDATE sp_distribution_set SET required_migration_step = true WHERE id = {set}"))
                .await;
            ids.push(node.give_as(Request { weight: Some(weight), ..request("d1", set) }).await);
        }
        targets::create(&node.ctx, vec![named("plain"), at("http", "http://10.0.0.1")]).await.unwrap();
        let set = node.set().await;
        node.give("plain", set).await;
        node.give("http", set).await;
        let all = ["d1", "idle", "plain", "http", "unknown"];
        let update = |action: i64| format!("d1@{GATEWAY} DownloadAndInstall {action}");
        assert_eq!(said(&node.next(&all).await), [update(ids[1])]);
        node.report("d1", ids[1], Execution::Closed).await;
        assert_eq!(said(&node.next(&all).await), [update(ids[2])]);
        actions::cancel(&node.ctx, "d1", ids[2]).await.unwrap();
        assert_eq!(said(&node.next(&all).await), [format!("d1@{GATEWAY} Cancel {}", ids[2])]);
        node.answer_cancel("d1", ids[2], Execution::Closed).await;
        assert_eq!(said(&node.next(&all).await), [update(ids[0])]);
        node.report("d1", ids[0], Execution::Closed).await;
        assert_eq!(said(&node.next(&all).await), [""; 0]);
        assert_eq!(said(&node.next(&[]).await), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn an_assignment_that_is_over_or_waits_for_a_cancellation_sends_nothing() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let (old, new) = (node.set().await, node.set().await);
        let ids = ["waits", "closed", "moved", "gone", "fine"];
        node.behind_gateway(&ids).await;
        let before = node.give("waits", old).await;
        node.take().await;
        let outcome = actions::assign(&node.ctx, ids.iter().map(|id| request(id, new)).collect(), false).await.unwrap();
        let action = |id: &str| outcome.actions.iter().find(|a| a.controller_id == id).unwrap().action;
        node.report("closed", action("closed"), Execution::Closed).await;
        let update = targets::Update { address: Some("http://10.0.0.1".into()), ..Default::default() };
        targets::update(&node.ctx, "moved", update).await.unwrap();
        node.delete("gone").await;
        let written = node.take().await;
        let [cancel, assign, ..] = &written[..] else { panic!("{written:?}") };
        assert_eq!(said(&node.expand(cancel).await), [format!("waits@{GATEWAY} Cancel {before}")]);
        let fine = format!("fine@{GATEWAY} DownloadAndInstall {}", action("fine"));
        assert_eq!(said(&node.expand(assign).await), [fine.as_str()]);

        // Once the device has answered, its update is what comes next.
        node.answer_cancel("waits", before, Execution::Closed).await;
        let update = format!("waits@{GATEWAY} DownloadAndInstall {}", action("waits"));
        assert_eq!(said(&node.next(&["waits"]).await), [update.as_str()]);
        let again: std::collections::BTreeSet<_> = said(&node.expand(assign).await).into_iter().collect();
        assert_eq!(again, [update, fine].into(), "the same event says other things later");
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_that_is_answered_is_not_sent_any_more_but_one_by_force_is() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let ids = ["asked", "rejected", "quit", "finished"];
        node.behind_gateway(&ids).await;
        let set = node.set().await;
        let mut actions_of = std::collections::HashMap::new();
        for id in ids {
            let action = node.give(id, set).await;
            actions::cancel(&node.ctx, id, action).await.unwrap();
            actions_of.insert(id, action);
        }
        node.answer_cancel("rejected", actions_of["rejected"], Execution::Rejected).await;
        actions::force_quit(&node.ctx, "quit", actions_of["quit"]).await.unwrap();
        node.answer_cancel("finished", actions_of["finished"], Execution::Rejected).await;
        node.report("finished", actions_of["finished"], Execution::Closed).await;
        let mut sent = Vec::new();
        for event in node.take().await {
            if matches!(event, ServiceEvent::Canceled { .. }) {
                sent.extend(said(&node.expand(&event).await));
            }
        }
        let cancel = |id: &str| format!("{id}@{GATEWAY} Cancel {}", actions_of[id]);
        assert_eq!(sent, [cancel("asked"), cancel("quit")]);
    })
    .await;
}

#[tokio::test]
async fn tenants_do_not_meet_in_commands() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let other = Node { ctx: Ctx::system(&node.services, Tenant::new("other")), ..node.clone() };
        tenants::ensure(&other.services, &other.ctx.tenant).await.unwrap();
        node.behind_gateway(&["d1"]).await;
        other.behind_gateway(&["d1"]).await;
        let ours = node.give("d1", node.set().await).await;
        let written = node.take().await;
        assert_eq!(said(&other.next(&["d1"]).await), [""; 0], "it has nothing to do there");
        let theirs = ServiceEvent::Assigned { tenant: "OTHER".into(), set: 1, actions: vec![(ours, "d1".into())] };
        assert_eq!(said(&other.expand(&theirs).await), [""; 0], "the action is another tenant's");
        let refused = commands::of_event(&other.ctx, &written[0]).await;
        assert_eq!(refused.map_err(|e: Error| e.kind).unwrap_err(), Kind::Internal);
        let action = other.give("d1", other.set().await).await;
        assert_eq!(said(&other.next(&["d1"]).await), [format!("d1@{GATEWAY} DownloadAndInstall {action}")]);
        let both = service::read(&store.db, &Tenants::Only("OTHER".into()), 10).await.unwrap();
        assert_eq!(both.len(), 1);
        assert_eq!(both[0].event.tenant(), "OTHER");
    })
    .await;
}

#[tokio::test]
async fn an_event_of_thousands_shares_what_its_set_brings() {
    const TARGETS: usize = 2100;
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let ids: Vec<String> = (0..TARGETS).map(|n| format!("d{n}")).collect();
        node.behind_gateway(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let set = node.set().await;
        actions::assign(&node.ctx, ids.iter().map(|id| request(id, set)).collect(), false).await.unwrap();
        let [event] = &node.take().await[..] else { panic!("one event for all") };
        let commands = node.expand(event).await;
        let names: Vec<_> = commands.iter().map(|c| c.controller_id.clone()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        let mut expected = ids.clone();
        expected.sort();
        assert_eq!(sorted, expected);
        let ServiceEvent::Assigned { actions, .. } = event else { panic!("{event:?}") };
        let in_event: Vec<_> = actions.iter().map(|(_, id)| id.clone()).collect();
        assert_eq!(names, in_event, "in the order of the event");
        let modules = |addressed: &Addressed| match &addressed.command {
            Command::Update { modules, .. } => modules.clone(),
            other => panic!("{other:?}"),
        };
        assert!(commands.iter().all(|c| Arc::ptr_eq(&modules(c), &modules(&commands[0]))), "read once");
        let refs: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(node.next(&refs).await.len(), TARGETS);
    })
    .await;
}

#[tokio::test]
async fn where_batches_are_on_an_assignment_is_one_message_to_where_its_first_target_is() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.configure("batch.assignments.enabled", "true").await;
        let there = at("d1", "amqp://vh/first");
        let here = at("d2", GATEWAY);
        targets::create(&node.ctx, vec![named("http"), there, here]).await.unwrap();
        let set = node.set().await;
        let requests = ["http", "d1", "d2"].map(|id| request(id, set)).into();
        let outcome = actions::assign(&node.ctx, requests, false).await.unwrap();
        let action = |id: &str| outcome.actions.iter().find(|a| a.controller_id == id).unwrap().action;
        let both = format!("d1@amqp://vh/first BatchInstall d1={} d2={}", action("d1"), action("d2"));
        let sent = node.expand_all().await;
        assert_eq!(said(&sent), [both]);
        let Command::Batch { recipients, modules, .. } = &sent[0].command else { panic!("a batch") };
        assert_eq!(recipients[1].security_token, node.shown("d2").await.target.sec_token);
        assert_eq!(modules.len(), 1);
        let one = format!("d2@{GATEWAY} BatchInstall d2={}", action("d2"));
        assert_eq!(said(&node.next(&["d2"]).await), [one], "a batch of one");

        actions::cancel(&node.ctx, "d2", action("d2")).await.unwrap();
        let cancel = format!("d2@{GATEWAY} Cancel {}", action("d2"));
        assert_eq!(said(&node.next(&["d2"]).await), [cancel.as_str()]);
        assert_eq!(said(&node.expand_all().await), [cancel]);
        node.configure("user.confirmation.flow.enabled", "true").await;
        node.behind_gateway(&["d3"]).await;
        let download = Request { action_type: ActionType::DownloadOnly, ..request("d3", set) };
        let action = node.give_as(download).await;
        let sent = said(&node.expand_all().await);
        assert_eq!(sent, [format!("d3@{GATEWAY} BatchDownload d3={action}")], "also what waits for a confirmation");
    })
    .await;
}

/// A line per command.
fn said(commands: &[Addressed]) -> Vec<String> {
    let line = |addressed: &Addressed| {
        let what = match &addressed.command {
            Command::Update { kind, action, .. } => format!("{kind:?} {action}"),
            Command::Batch { install, recipients, .. } => {
                let recipients: Vec<_> =
                    recipients.iter().map(|r| format!("{}={}", r.controller_id, r.action)).collect();
                format!("Batch{} {}", if *install { "Install" } else { "Download" }, recipients.join(" "))
            }
            Command::Cancel { action } => format!("Cancel {action}"),
            Command::RequestAttributes => "RequestAttributes".to_owned(),
            Command::Deleted => "Deleted".to_owned(),
        };
        format!("{}@{} {what}", addressed.controller_id, addressed.address)
    };
    commands.iter().map(line).collect()
}

fn at(controller_id: &str, address: &str) -> Create {
    Create { address: Some(address.into()), ..named(controller_id) }
}

fn request(controller_id: &str, set: i64) -> Request {
    Request {
        controller_id: controller_id.into(),
        set,
        action_type: ActionType::Forced,
        forced_time: 0,
        weight: None,
        confirmation_required: None,
        window: None,
    }
}

impl Node {
    async fn behind_gateway(&self, controller_ids: &[&str]) {
        let targets = controller_ids.iter().map(|id| at(id, GATEWAY)).collect();
        targets::create(&self.ctx, targets).await.unwrap();
    }

    /// Assigns, and gives the action.
    async fn give(&self, controller_id: &str, set: i64) -> i64 {
        self.give_as(request(controller_id, set)).await
    }

    async fn give_as(&self, request: Request) -> i64 {
        actions::assign(&self.ctx, vec![request], false).await.unwrap().actions[0].action
    }

    fn as_device(&self) -> Ctx {
        Ctx::device(&self.services, self.ctx.tenant.clone())
    }

    async fn report(&self, controller_id: &str, action: i64, execution: Execution) {
        actions::update_feedback(&self.as_device(), controller_id, action, feedback(execution)).await.unwrap();
    }

    async fn answer_cancel(&self, controller_id: &str, action: i64, execution: Execution) {
        actions::cancel_feedback(&self.as_device(), controller_id, action, feedback(execution)).await.unwrap();
    }

    async fn next(&self, controller_ids: &[&str]) -> Vec<Addressed> {
        let ids: Vec<String> = controller_ids.iter().map(|id| id.to_string()).collect();
        commands::next(&self.as_device(), &ids).await.unwrap()
    }

    async fn expand(&self, event: &ServiceEvent) -> Vec<Addressed> {
        commands::of_event(&self.ctx, event).await.unwrap()
    }

    /// The commands of all events since the last look.
    async fn expand_all(&self) -> Vec<Addressed> {
        let mut commands = Vec::new();
        for event in self.take().await {
            commands.extend(self.expand(&event).await);
        }
        commands
    }

    /// The tenant's service events since the last look.
    async fn take(&self) -> Vec<ServiceEvent> {
        let tenants = Tenants::Only(self.ctx.tenant_id().into());
        let written = service::read(&self.services.db, &tenants, usize::from(u16::MAX)).await.unwrap();
        let ids: Vec<i64> = written.iter().map(|w| w.id).collect();
        let tx = Tx::begin(&self.services.db, &self.services.events, &self.clock).await.unwrap();
        service::done(&tx, &ids).await.unwrap();
        tx.commit().await.unwrap();
        written.into_iter().map(|Written { event, .. }| event).collect()
    }
}

fn feedback(execution: Execution) -> Feedback {
    Feedback { execution, failed: false, code: None, details: Vec::new(), timestamp: None }
}
