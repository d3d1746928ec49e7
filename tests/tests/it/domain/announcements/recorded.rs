//! The work of `shared/contract/dmf_replay.py`, done by the calls that its requests and messages lead to, and what hawkBit
//! was recorded to tell of it.

use std::collections::BTreeMap;

use kettle_domain::{
    actions::{Answer, Report, WindowText},
    artifacts::{self, NewArtifact},
    targets::{Registration, attributes::Mode, auto_confirm},
};

use super::*;
use crate::contract::cluster_events::{self, comparable};

/// In `assigned soft to two`, hawkBit names the targets in the order in which its database finds them.
const IN_ANY_ORDER: &str = "assigned soft to two";

#[tokio::test]
async fn the_events_of_the_recorded_work_are_the_recorded_ones() {
    let Some(recorded) = cluster_events::recorded() else { return };
    let mut expected: BTreeMap<String, [Vec<Value>; 2]> = BTreeMap::new();
    for event in recorded {
        let [fan_out, service] = expected.entry(event.during).or_default();
        if event.fan_out { fan_out } else { service }.push(event.body);
    }
    on_each_store(async |store| {
        let mut replay = Replay { told: Told::from_now_on(&store).await, steps: BTreeMap::new() };
        replay.run().await;
        let steps: Vec<&String> = replay.steps.keys().chain(expected.keys()).collect();
        for step in steps {
            let [ours, theirs] = [&replay.steps, &expected].map(|of| of.get(step).cloned().unwrap_or_default());
            let [ours, theirs] = [ours, theirs].map(|mut of| {
                if step == IN_ANY_ORDER {
                    of.iter_mut().for_each(|events| events.sort_by_key(summary));
                }
                of
            });
            assert_eq!(ours, theirs, "{step}");
        }
    })
    .await;
}

struct Replay<'s> {
    told: Told<'s>,
    steps: BTreeMap<String, [Vec<Value>; 2]>,
}

impl Replay<'_> {
    /// What was told since the last step was told in this one.
    async fn step(&mut self, name: &str) {
        let mut told = [Vec::new(), Vec::new()];
        for (channel, body) in self.told.messages().await {
            let [fan_out, service] = &mut told;
            let of = if channel == Channel::FanOut { fan_out } else { service };
            of.push(comparable(serde_json::from_slice(&body).unwrap()));
        }
        if told.iter().any(|events: &Vec<Value>| !events.is_empty()) {
            self.steps.insert(name.to_owned(), told);
        }
    }

    async fn run(&mut self) {
        let node = self.told.node.clone();
        let ctx = &node.ctx;
        let device = &Ctx::device(&node.services, ctx.tenant.clone());
        let report = async |action, status, code| {
            let report = Report { action, what: status, code, messages: vec!["m".into()], correlation_id: None };
            actions::report(device, &[report]).await.unwrap().remove(0).unwrap();
        };
        let answer = async |action, answer| {
            let report = Report { action, what: answer, code: None, messages: vec!["m".into()], correlation_id: None };
            actions::answer(device, report).await.unwrap();
        };
        use actions::ActionStatus::{Downloaded, Finished, Running};

        node.thing("dmf-1", Some("Dmf one"), Some(("hw", "1"))).await;
        self.step("thing created").await;
        node.thing("dmf-2", None, None).await;
        self.step("plain thing created").await;
        let reported = vec![("sw".to_owned(), Some("2".to_owned()))];
        targets::attributes::report(device, "dmf-1", Mode::Merge, reported).await.unwrap();
        self.step("attributes").await;
        let (first, module) = node.set_with("1", Some(&[b'x'; 100])).await;
        let seen = software_modules::metadata::Entry {
            key: "seen".into(),
            value: Some("by-device".into()),
            target_visible: true,
        };
        software_modules::metadata::create(ctx, module, vec![seen]).await.unwrap();
        node.give_set(&["dmf-1"], first, ActionType::Forced, None).await;
        self.step("assigned forced").await;
        report(1, Running, None).await;
        self.step("status running").await;
        let wish = targets::Update { request_attributes: Some(true), ..Default::default() };
        targets::update(ctx, "dmf-1", wish).await.unwrap();
        self.step("request attributes by operator").await;
        report(1, Finished, Some(7)).await;
        self.step("status finished").await;
        let (second, _) = node.set_with("2", Some(b"y")).await;
        node.give_set(&["dmf-1", "dmf-2"], second, ActionType::Soft, None).await;
        self.step("assigned soft to two").await;
        let open = node.newest("dmf-1").await;
        actions::cancel(ctx, "dmf-1", open).await.unwrap();
        self.step("cancel").await;
        answer(open, Answer::CancelRejected).await;
        self.step("cancel rejected").await;
        actions::cancel(ctx, "dmf-1", open).await.unwrap();
        self.step("cancel again").await;
        answer(open, Answer::Canceled).await;
        self.step("canceled").await;
        node.thing("dmf-2", None, None).await;
        self.step("thing seen again with an open update").await;
        node.give_set(&["dmf-1"], second, ActionType::DownloadOnly, None).await;
        self.step("download only and window").await;
        report(4, Downloaded, None).await;
        self.step("status downloaded").await;
        let window =
            WindowText { schedule: "0 0 3 * * ? 2098".into(), duration: "01:00:00".into(), timezone: "+02:00".into() };
        node.give_set(&["dmf-1"], first, ActionType::Forced, Some(window)).await;
        // Ten seconds after it was seen.
        targets::flush_last_seen(&node.services).await.unwrap();
        self.step("maintenance window ahead").await;
        report(5, Finished, None).await;
        self.step("finished again").await;
        node.configure("user.confirmation.flow.enabled", "true").await;
        self.step("confirmation flow on").await;
        let (third, _) = node.set_with("3", None).await;
        node.give_set(&["dmf-1"], third, ActionType::Forced, None).await;
        self.step("assigned, to be confirmed").await;
        answer(6, Answer::Confirmed).await;
        self.step("confirmed").await;
        let wanted = auto_confirm::Activate { initiator: Some("dev".into()), remark: Some("r".into()) };
        auto_confirm::activate_by_device(device, "dmf-2", wanted).await.unwrap();
        self.step("auto confirm on").await;
        node.delete("dmf-1").await;
        self.step("target deleted").await;
        targets::delete_by_device(device, "dmf-2").await.unwrap();
        self.step("thing removed").await;
    }
}

impl Node {
    async fn thing(&self, controller_id: &str, name: Option<&str>, attribute: Option<(&str, &str)>) {
        let attributes = attribute.map(|(key, value)| (Mode::Merge, vec![(key.to_owned(), Some(value.to_owned()))]));
        let registration = Registration {
            controller_id: controller_id.into(),
            address: "amqp:/contract.reply".into(),
            name: name.map(str::to_owned),
            target_type: None,
            attributes,
        };
        let device = Ctx::device(&self.services, self.ctx.tenant.clone());
        targets::register(&device, &[registration]).await.unwrap().remove(0).unwrap();
    }

    /// A set with one module, and its module; with a file in it, if there is one.
    async fn set_with(&self, version: &str, file: Option<&'static [u8]>) -> (i64, i64) {
        let module = software_modules::Create {
            name: "dmf".into(),
            version: version.into(),
            module_type: "os".into(),
            ..Default::default()
        };
        let module = software_modules::create(&self.ctx, vec![module]).await.unwrap()[0].module.id;
        if let Some(file) = file {
            let chunks = futures_util::stream::iter([Ok(file.into())]);
            let new = NewArtifact { filename: "x.bin".into(), ..Default::default() };
            artifacts::create(&self.ctx, module, new, chunks).await.unwrap();
        }
        let set = distribution_sets::Create {
            name: "dmf".into(),
            version: version.into(),
            set_type: Some("os".into()),
            modules: vec![module],
            ..Default::default()
        };
        (distribution_sets::create(&self.ctx, vec![set]).await.unwrap()[0].set.id, module)
    }

    async fn give_set(&self, controller_ids: &[&str], set: i64, action_type: ActionType, window: Option<WindowText>) {
        let request = |controller_id: &&str| Request {
            controller_id: (*controller_id).into(),
            set,
            action_type,
            forced_time: 0,
            weight: None,
            confirmation_required: None,
            window: window.clone(),
        };
        let requests = controller_ids.iter().map(request).collect();
        actions::assign(&self.ctx, requests, false).await.unwrap();
    }

    /// The newest action of a target.
    pub(super) async fn newest(&self, controller_id: &str) -> i64 {
        let newest = Listing::new(0, 1, Some("id:DESC".into()), None);
        actions::list_of_target(&self.ctx, controller_id, &newest).await.unwrap().content[0].action.id
    }
}
