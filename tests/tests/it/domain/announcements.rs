//! What hawkBit nodes and others are told of changes: the recorded cluster events for the recorded work, and what hawkBit's
//! sources say of the rest.

mod recorded;

use kettle_cluster::{
    Announcement,
    announcements::{Channel, JSON, Payload, read},
    outbox,
};
use kettle_domain::{
    actions::{self, ActionType, Execution, Feedback, Request},
    distribution_set_tags, distribution_set_types,
    distribution_sets::{self, Cancelation},
    rollouts::{self, Conditions, RolloutStatus},
    software_module_types, software_modules, tags, target_filters, target_tags, target_types,
};
use serde_json::Value;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn nothing_is_written_where_nobody_is_told() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.create("d1").await;
        node.delete("d1").await;
        let announced = format!("SELECT count(*) AS n FROM kt_outbox WHERE kind = '{}'", outbox::ANNOUNCEMENT);
        assert_eq!(store.number(&announced).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_target_is_told_of_unless_nothing_but_its_address_or_its_poll_is_new() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        node.create("d1").await;
        assert_eq!(told.types().await, ["1 JpaTarget 1"]);
        node.poll("d1").await;
        assert_eq!(told.types().await, ["24 DEFAULT", "2 JpaTarget 1"], "it is registered");
        node.clock.advance(1);
        node.poll("d1").await;
        assert_eq!(told.types().await, [""; 0], "it waits for the others");
        targets::flush_last_seen(&node.services).await.unwrap();
        let polled = told.events().await;
        assert_eq!(polled.len(), 1);
        assert_eq!((&polled[0]["controllerIds"][0], &polled[0]["targetAddress"]), (&"d1".into(), &Value::Null));
        node.poll("d2").await;
        assert_eq!(told.types().await, ["24 DEFAULT", "1 JpaTarget 2"]);
        let update = |update| targets::update(&node.ctx, "d1", update);
        update(targets::Update { address: Some("http://10.0.0.9".into()), ..Default::default() }).await.unwrap();
        assert_eq!(told.types().await, [""; 0], "hawkBit says nothing of that");
        update(targets::Update { name: Some("new".into()), ..Default::default() }).await.unwrap();
        assert_eq!(told.types().await, ["2 JpaTarget 1"]);
        update(targets::Update { name: Some("new".into()), ..Default::default() }).await.unwrap();
        assert_eq!(told.types().await, [""; 0], "it had that name");
        let entry = vec![("k".to_owned(), Some("v".to_owned()))];
        targets::metadata::create(&node.ctx, "d1", entry).await.unwrap();
        assert_eq!(told.types().await, ["2 JpaTarget 1"]);
        targets::groups::assign(&node.ctx, Some("eu"), vec![Some("d1".into())]).await.unwrap();
        assert_eq!(told.types().await, [""; 0], "hawkBit moves groups with a statement of its own");
        node.delete("d1").await;
        assert_eq!(told.types().await, ["3 JpaTarget 1"]);
    })
    .await;
}

#[tokio::test]
async fn tags_types_and_filters_are_told_of() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        let ctx = &node.ctx;
        node.create("d1").await;
        let set = node.set().await;
        told.types().await;
        let name = |name: &str| tags::Edit { name: Some(name.into()), ..Default::default() };
        for (kind, created, updated, deleted) in
            [(target_tags::KIND, 6, 7, 8), (distribution_set_tags::KIND, 14, 15, 16)]
        {
            let class = if created == 6 { "JpaTargetTag" } else { "JpaDistributionSetTag" };
            let tag = tags::create(ctx, kind, vec![name("a")]).await.unwrap()[0].id;
            assert_eq!(told.types().await, [format!("{created} {class} {tag}")]);
            tags::update(ctx, kind, tag, name("b")).await.unwrap();
            assert_eq!(told.types().await, [format!("{updated} {class} {tag}")]);
            tags::update(ctx, kind, tag, name("b")).await.unwrap();
            if created == 6 {
                let policy = target_tags::NotFoundPolicy::Fail;
                target_tags::assign(ctx, tag, &[Some("d1".into())], policy).await.unwrap();
                assert_eq!(told.types().await, ["2 JpaTarget 1"]);
                target_tags::assign(ctx, tag, &[Some("d1".into())], policy).await.unwrap();
                assert_eq!(told.types().await, [""; 0], "it has the tag");
            } else {
                distribution_set_tags::assign(ctx, tag, &[Some(set)]).await.unwrap();
                assert_eq!(told.types().await, [format!("12 JpaDistributionSet {set}")]);
            }
            tags::delete(ctx, kind, tag).await.unwrap();
            assert_eq!(told.types().await, [format!("{deleted} {class} {tag}")], "what had it stays as it was");
        }

        let of_modules = software_module_types::Create {
            key: "k".into(),
            name: "n".into(),
            max_assignments: 1,
            ..Default::default()
        };
        let module_type = software_module_types::create(ctx, vec![of_modules]).await.unwrap()[0].id;
        let of_sets = distribution_set_types::Create { key: "k".into(), name: "n".into(), ..Default::default() };
        let set_type = distribution_set_types::create(ctx, vec![of_sets]).await.unwrap()[0].id;
        let of_targets = target_types::Create { key: Some("k".into()), ..Default::default() };
        let target_type = target_types::create(ctx, vec![of_targets]).await.unwrap()[0].id;
        let types = [
            ("JpaSoftwareModuleType", module_type),
            ("JpaDistributionSetType", set_type),
            ("JpaTargetType", target_type),
        ];
        let each = |numbers: [u32; 3]| {
            numbers.iter().zip(types).map(|(n, (class, id))| format!("{n} {class} {id}")).collect::<Vec<_>>()
        };
        assert_eq!(told.types().await, each([31, 28, 44]));
        let colour = || Some("red".to_owned());
        let edit = software_module_types::Update { colour: colour(), ..Default::default() };
        software_module_types::update(ctx, module_type, edit).await.unwrap();
        let edit = distribution_set_types::Update { colour: colour(), ..Default::default() };
        distribution_set_types::update(ctx, set_type, edit).await.unwrap();
        let edit = target_types::Update { colour: colour(), ..Default::default() };
        target_types::update(ctx, target_type, edit).await.unwrap();
        assert_eq!(told.types().await, each([32, 29, 45]));
        software_module_types::delete(ctx, module_type).await.unwrap();
        distribution_set_types::delete(ctx, set_type).await.unwrap();
        target_types::delete(ctx, target_type).await.unwrap();
        assert_eq!(told.types().await, each([33, 30, 46]));

        let filter = target_filters::create(ctx, "f", "name==*").await.unwrap().filter.id;
        assert_eq!(told.types().await, [format!("34 JpaTargetFilterQuery {filter}")]);
        target_filters::update(ctx, filter, Some("g".into()), None).await.unwrap();
        assert_eq!(told.types().await, [format!("35 JpaTargetFilterQuery {filter}")]);
        let assigned = target_filters::AutoAssign { set, action_type: None, weight: None, confirmation_required: None };
        target_filters::auto_assign(ctx, filter, assigned).await.unwrap();
        let module = store.number(&format!("SELECT sm_id AS n FROM sp_ds_sm WHERE ds_id = {set}")).await;
        let locked = [format!("12 JpaDistributionSet {set}"), format!("23 JpaSoftwareModule {module}")];
        assert_eq!(told.types().await, [&locked[..], &[format!("35 JpaTargetFilterQuery {filter}")]].concat());
        target_filters::delete(ctx, filter).await.unwrap();
        assert_eq!(told.types().await, [format!("36 JpaTargetFilterQuery {filter}")]);
    })
    .await;
}

#[tokio::test]
async fn what_is_only_marked_as_deleted_is_not_told_of() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        let ctx = &node.ctx;
        let (used, unused) = (node.set().await, node.set().await);
        let module =
            async |set: i64| store.number(&format!("SELECT sm_id AS n FROM sp_ds_sm WHERE ds_id = {set}")).await;
        let (of_used, of_unused) = (module(used).await, module(unused).await);
        node.create("d1").await;
        node.give_one("d1", used).await;
        told.types().await;
        // hawkBit marks them with a statement of its own.
        distribution_sets::delete(ctx, used).await.unwrap();
        assert_eq!(told.types().await, [""; 0]);
        distribution_sets::delete(ctx, unused).await.unwrap();
        assert_eq!(told.types().await, [format!("13 JpaDistributionSet {unused}")]);
        software_modules::delete(ctx, of_unused).await.unwrap();
        assert_eq!(told.types().await, [format!("22 JpaSoftwareModule {of_unused}")]);
        software_modules::delete(ctx, of_used).await.unwrap();
        assert_eq!(told.types().await, [""; 0]);
        let vendor = software_modules::Update { vendor: Some("v".into()), ..Default::default() };
        software_modules::update(ctx, of_used, vendor).await.unwrap();
        let both = [format!("23 JpaSoftwareModule {of_used}"), format!("22 JpaSoftwareModule {of_used}")];
        assert_eq!(told.types().await, both, "a change of what is deleted says that it is");
    })
    .await;
}

#[tokio::test]
async fn settings_are_told_of_without_secrets() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        const TOKEN: &str = "authentication.gatewaytoken.key";
        for (key, value, other) in [("pollingTime", "00:02:00", "00:03:00"), (TOKEN, "secret", "other")] {
            node.configure(key, value).await;
            node.configure(key, value).await;
            node.configure(key, other).await;
            configuration::reset(&node.ctx, key).await.unwrap();
            configuration::reset(&node.ctx, key).await.unwrap();
            let events = told.events().await;
            let kinds: Vec<_> =
                events.iter().map(|e| (e["type"].as_str().unwrap(), e["cacheKey"].as_str().unwrap())).collect();
            assert_eq!(kinds, [("40", key), ("41", key), ("42", key)]);
            let expected = if key == TOKEN { Value::Null } else { other.into() };
            assert_eq!((&events[2]["configKey"], &events[2]["configValue"]), (&key.into(), &expected));
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_assignment_asks_to_cancel_the_first() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        node.create("d1").await;
        let (first, second, third) = (node.set().await, node.set().await, node.set().await);
        node.give_one("d1", first).await;
        told.types().await;
        node.give_one("d1", second).await;
        let events = told.events().await;
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["12", "23", "4", "10", "2", "5", "9"]);
        assert_eq!(events[2]["actions"]["d1"]["status"], "CANCELING");
        assert_eq!(events[5]["actions"]["d1"]["status"], "RUNNING");
        node.configure("repository.actions.autoclose.enabled", "true").await;
        told.types().await;
        node.give_one("d1", third).await;
        let closed = ["12", "23", "10", "10", "2", "5", "9"];
        let events = told.events().await;
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, closed, "what is closed is no cancellation");
    })
    .await;
}

#[tokio::test]
async fn an_invalidated_set_has_its_actions_cancelled_one_by_one() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        for (cancelation, status, fallen_back) in [
            (Cancelation::Soft, "CANCELING", &[][..]),
            (Cancelation::Force, "CANCELED", &["2".to_owned(), "2".to_owned()][..]),
        ] {
            let (set, ids) = (node.set().await, [format!("a-{status}"), format!("b-{status}")]);
            for id in &ids {
                node.create(id).await;
                node.give_one(id, set).await;
            }
            told.types().await;
            distribution_sets::invalidate(&node.ctx, set, cancelation).await.unwrap();
            let events = told.events().await;
            let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
            let cancelled = ["4", "4", "10", "10"].map(str::to_owned);
            assert_eq!(types, [&["12".to_owned()], fallen_back, &cancelled].concat());
            let asked = events.iter().filter(|event| event["type"] == "4");
            for (event, id) in asked.zip(&ids) {
                assert_eq!(event["actions"][id]["status"], status, "as it is when all is done");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_new_tenant_starts_with_is_told_of() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        tenants::ensure(&told.node.services, &Tenant::new("new")).await.unwrap();
        let events = told.events().await;
        assert!(events.iter().all(|event| event["tenant"] == "NEW"));
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["31", "31", "28", "28", "28"]);
    })
    .await;
}

#[tokio::test]
async fn a_rollout_is_told_of_from_its_creation_to_its_end() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        let ctx = &node.ctx;
        for id in ["d1", "d2"] {
            node.create(id).await;
        }
        let set = node.set().await;
        told.types().await;
        let rollout = node.rollout(set).await;
        let groups = rollouts::groups::list(ctx, rollout, &Listing::new(0, 5, None, None), false).await.unwrap();
        let [one, two] = [0, 1].map(|n| groups.content[n].group.id);
        let (r, g) =
            (|n: u32| format!("{n} JpaRollout {rollout}"), |n: u32, id: i64| format!("{n} JpaRolloutGroup {id}"));
        let module = store.number(&format!("SELECT sm_id AS n FROM sp_ds_sm WHERE ds_id = {set}")).await;
        let locked = [format!("12 JpaDistributionSet {set}"), format!("23 JpaSoftwareModule {module}")];
        assert_eq!(told.types().await, [&locked[..], &[g(18, one), g(18, two), r(27)]].concat());
        rollouts::work_on_all(&node.services).await.unwrap();
        assert_eq!(told.types().await, [g(19, one), g(19, two), r(17)], "it is ready");
        rollouts::start(ctx, rollout).await.unwrap();
        assert_eq!(told.types().await, [r(17)]);
        rollouts::work_on_all(&node.services).await.unwrap();
        let mut started = told.events().await;
        let assigned: Vec<Value> = started.extract_if(.., |event| event["type"] == "5").collect();
        assert_eq!(assigned.len(), 1);
        assert_eq!(
            (&assigned[0]["distributionSetId"], &assigned[0]["actions"]["d1"]["status"]),
            (&set.into(), &"RUNNING".into())
        );
        let of_rollout =
            |e: &Value| e["rolloutId"] == rollout && (e["rolloutGroupId"] == one || e["rolloutGroupId"] == two);
        assert!(started.iter().filter(|e| e["cacheName"] == "JpaAction").all(of_rollout));
        let (first, second) = (node.newest("d1").await, node.newest("d2").await);
        let a = |n: u32, action: i64| format!("{n} JpaAction {action}");
        let scheduled = [a(9, first), a(9, second), g(19, one), g(19, two)];
        let running = [a(10, first), "2 JpaTarget 1".to_owned(), g(19, one), r(17)];
        let types: Vec<String> = started.iter().map(summary).collect();
        assert_eq!(sorted(types), sorted([scheduled, running].concat()), "all is scheduled, the first group runs");
        let finished =
            Feedback { execution: Execution::Closed, failed: false, code: None, details: Vec::new(), timestamp: None };
        actions::update_feedback(&Ctx::device(&node.services, ctx.tenant.clone()), "d1", first, finished)
            .await
            .unwrap();
        assert_eq!(told.types().await, ["37 JpaTarget 1".to_owned(), "2 JpaTarget 1".to_owned(), a(10, first)]);
        rollouts::work_on_all(&node.services).await.unwrap();
        let expected = [a(10, second), g(19, one), g(19, two), "2 JpaTarget 2".to_owned(), format!("5 {set}")];
        assert_eq!(sorted(told.types().await), sorted(expected.to_vec()), "the next group runs");
        rollouts::stop(ctx, rollout).await.unwrap();
        assert_eq!(told.types().await, [r(17)]);
        rollouts::work_on_all(&node.services).await.unwrap();
        let events = told.events().await;
        let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["19", "4", "10", "43", "17"]);
        assert_eq!(events[3]["rolloutGroupIds"], serde_json::json!([one, two]));
        rollouts::delete(ctx, rollout).await.unwrap();
        told.types().await;
        rollouts::work_on_all(&node.services).await.unwrap();
        assert_eq!(rollouts::get(ctx, rollout).await.unwrap().rollout.status(), RolloutStatus::Deleted);
        assert_eq!(told.types().await, [a(10, second), r(17), r(25)], "it stays as deleted");

        let rollout = node.rollout(node.set().await).await;
        rollouts::work_on_all(&node.services).await.unwrap();
        told.types().await;
        rollouts::delete(ctx, rollout).await.unwrap();
        rollouts::work_on_all(&node.services).await.unwrap();
        let types: Vec<_> =
            told.events().await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(types, ["17", "26", "26", "25"], "no device had to do with it");
    })
    .await;
}

#[tokio::test]
async fn what_other_servers_change_of_a_target_drops_its_view() {
    on_each_store(async |store| {
        let mut told = Told::from_now_on(&store).await;
        let node = told.node.clone();
        node.poll("d1").await;
        node.poll("d2").await;
        told.types().await;
        store.execute("UPDATE sp_target SET sec_token = 'new'").await;
        assert_ne!(node.poll("d1").await.view.token, "new", "it is in the cache");
        let update = targets::Update { name: Some("x".into()), ..Default::default() };
        let peer = Told::from_now_on(&store).await.node;
        targets::update(&peer.ctx, "d1", update).await.unwrap();
        let heard: Vec<_> = told.bodies().await.iter().map(|body| read(JSON, body).unwrap()).collect();
        node.services.events.heard(&heard).await.unwrap();
        assert_eq!(node.poll("d1").await.view.token, "new");
        assert_ne!(node.poll("d2").await.view.token, "new", "nothing was said of it");
    })
    .await;
}

/// A node that announces, and what it has announced.
struct Told<'s> {
    node: Node,
    store: &'s Store,
    read_to: i64,
}

impl Told<'_> {
    async fn from_now_on(store: &Store) -> Told<'_> {
        let node = Node::start(&store.db).await;
        node.services.events.announce_from_now_on();
        let read_to = store.number("SELECT coalesce(max(id), 0) AS n FROM kt_outbox").await;
        Told { node, store, read_to }
    }

    /// What was written since the last call, as it goes to both channels.
    async fn messages(&mut self) -> Vec<(Channel, Vec<u8>)> {
        let sql = "SELECT id, payload FROM kt_outbox WHERE kind = $1 AND id > $2 ORDER BY id";
        let mut messages = Vec::new();
        for row in self.store.rows(sql, [outbox::ANNOUNCEMENT.into(), self.read_to.into()]).await {
            self.read_to = row.try_get("", "id").unwrap();
            let payload: String = row.try_get("", "payload").unwrap();
            let announcement: Announcement = serde_json::from_str(&payload).unwrap();
            let id = |n: usize| Uuid::from_u128(n as u128);
            let of_row = announcement.messages(id, NOW, Payload::Json, true);
            messages.extend(of_row.into_iter().map(|message| (message.channel, message.body)));
        }
        messages
    }

    async fn bodies(&mut self) -> Vec<Vec<u8>> {
        let fan_out = |(channel, body)| (channel == Channel::FanOut).then_some(body);
        self.messages().await.into_iter().filter_map(fan_out).collect()
    }

    async fn events(&mut self) -> Vec<Value> {
        self.bodies().await.iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// The events as [`summary`] has them.
    async fn types(&mut self) -> Vec<String> {
        self.events().await.iter().map(summary).collect()
    }
}

fn sorted(mut events: Vec<String>) -> Vec<String> {
    events.sort();
    events
}

/// Type, class and source.
fn summary(event: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let class = event["cacheName"].as_str().map(|class| format!("{class} ")).unwrap_or_default();
    format!("{} {class}{}", text(&event["type"]), text(&event["source"]))
}

impl Node {
    async fn give_one(&self, controller_id: &str, set: i64) {
        let request = Request {
            controller_id: controller_id.into(),
            set,
            action_type: ActionType::Forced,
            forced_time: 0,
            weight: None,
            confirmation_required: None,
            window: None,
        };
        actions::assign(&self.ctx, vec![request], false).await.unwrap();
    }

    /// Of two groups, of all targets.
    async fn rollout(&self, set: i64) -> i64 {
        let new = rollouts::Create {
            name: Some(format!("of-{set}")),
            description: None,
            filter: Some("controllerid==*".into()),
            set,
            action_type: ActionType::Forced,
            forced_time: None,
            weight: None,
            start_at: None,
            dynamic: false,
            confirmation_required: None,
            conditions: Conditions::by_default(),
            amount_groups: Some(2),
            template: None,
            groups: None,
        };
        rollouts::create(&self.ctx, new).await.unwrap().rollout.id
    }
}
