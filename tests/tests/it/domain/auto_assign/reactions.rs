//! Every change that a search over targets can see makes the filters look again.

use kettle_domain::{
    actions::{Execution, Feedback, Selected},
    distribution_sets,
    tags::{self, Edit},
    target_tags::{self, NotFoundPolicy},
    target_types,
    targets::{attributes, auto_confirm, groups, metadata, target_type},
};

use super::*;

#[tokio::test]
async fn creation() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        node.reacts("by an operator", "name==d*", async |id| {
            node.create_with(Create { name: Some(format!("d {id}")), ..named(id) }).await;
        })
        .await;
        node.reacts("by a device", "description==*Play*", async |id| _ = node.poll(id).await).await;
    })
    .await;
}

#[tokio::test]
async fn edits_and_polls() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        node.reacts_of("a name", "name==new", async |id| {
            let update = targets::Update { name: Some("new".into()), ..Default::default() };
            targets::update(&node.ctx, id, update).await.unwrap();
        })
        .await;
        node.reacts_of("a poll registers", "updatestatus==registered and ipaddress==http*", async |id| {
            node.poll(id).await;
        })
        .await;
        node.reacts_of("attributes", "attribute.k==v", async |id| {
            let device = Ctx::device(&node.services, node.ctx.tenant.clone());
            attributes::report(&device, id, Default::default(), vec![("k".into(), Some("v".into()))]).await.unwrap();
        })
        .await;
        let entry = |value: &str| vec![("k".to_owned(), Some(value.to_owned()))];
        node.reacts_of("new metadata", "metadata.k==one", async |id| {
            metadata::create(&node.ctx, id, entry("one")).await.unwrap();
        })
        .await;
        node.reacts_of("changed metadata", "metadata.k==two", async |id| {
            metadata::create(&node.ctx, id, entry("one")).await.unwrap();
            node.drain().await;
            metadata::put(&node.ctx, id, "k", Some("two".into())).await.unwrap();
        })
        .await;
        node.reacts_of("deleted metadata", "metadata.k=is=null and metadata.j==one", async |id| {
            let entries = [entry("one"), vec![("j".into(), Some("one".into()))]].concat();
            metadata::create(&node.ctx, id, entries).await.unwrap();
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0);
            metadata::delete(&node.ctx, id, "k").await.unwrap();
        })
        .await;
        node.reacts_of("a group", "group==lab", async |id| {
            groups::assign(&node.ctx, Some("lab"), vec![Some(id.into())]).await.unwrap();
        })
        .await;
        node.reacts_of("a group by search", "group==field", async |id| {
            groups::assign_matching(&node.ctx, Some("field"), Some(&format!("controllerid=={id}"))).await.unwrap();
        })
        .await;
        node.reacts_of("auto-confirmation", "autoconfirm==true", async |id| {
            auto_confirm::activate(&node.ctx, id, Default::default()).await.unwrap();
        })
        .await;
        node.reacts_of("no auto-confirmation", "autoconfirm==false and name==confirming", async |id| {
            auto_confirm::activate(&node.ctx, id, Default::default()).await.unwrap();
            let update = targets::Update { name: Some("confirming".into()), ..Default::default() };
            targets::update(&node.ctx, id, update).await.unwrap();
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0);
            let device = Ctx::device(&node.services, node.ctx.tenant.clone());
            auto_confirm::deactivate_by_device(&device, id).await.unwrap();
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn tags_and_types() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let tag = async |name: &str| {
            let edit = Edit { name: Some(name.into()), ..Default::default() };
            tags::create(&node.ctx, target_tags::KIND, vec![edit]).await.unwrap()[0].id
        };
        let (lab, field) = (tag("lab").await, tag("field").await);
        let put = async |tag: i64, id: &str| {
            target_tags::assign(&node.ctx, tag, &[Some(id.into())], NotFoundPolicy::Fail).await.unwrap();
        };
        node.reacts_of("a tag", "tag==lab", async |id| put(lab, id).await).await;
        node.reacts_of("a tag taken off", "tag!=lab and tag==field", async |id| {
            put(lab, id).await;
            put(field, id).await;
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0);
            target_tags::unassign(&node.ctx, lab, &[Some(id.into())], NotFoundPolicy::Fail).await.unwrap();
        })
        .await;
        node.reacts_of("a renamed tag", "tag.name==workshop", async |id| {
            put(lab, id).await;
            let edit = Edit { name: Some("workshop".into()), ..Default::default() };
            tags::update(&node.ctx, target_tags::KIND, lab, edit).await.unwrap();
        })
        .await;
        node.reacts_of("a deleted tag", "tag!=workshop and name==d-tagged", async |id| {
            put(lab, id).await;
            let update = targets::Update { name: Some("d-tagged".into()), ..Default::default() };
            targets::update(&node.ctx, id, update).await.unwrap();
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0);
            target_tags::delete(&node.ctx, lab).await.unwrap();
        })
        .await;

        let os = node.set_type("os").await;
        let new_type = async |name: &str, compatible: Vec<i64>| {
            let create = target_types::Create { name: Some(name.into()), compatible, ..Default::default() };
            target_types::create(&node.ctx, vec![create]).await.unwrap()[0].id
        };
        let lamp = new_type("lamp", vec![os]).await;
        node.reacts_of("a type", "type.name==lamp", async |id| {
            target_type::assign(&node.ctx, id, lamp).await.unwrap();
        })
        .await;
        node.reacts_of("a renamed type", "targettype.name==lantern", async |id| {
            target_type::assign(&node.ctx, id, lamp).await.unwrap();
            let update = target_types::Update { name: Some("lantern".into()), ..Default::default() };
            target_types::update(&node.ctx, lamp, update).await.unwrap();
        })
        .await;
        let takes_nothing = new_type("valve", vec![]).await;
        node.reacts("the type is taken off", "name==*", async |id| {
            node.create_with(Create { target_type: Some(takes_nothing), ..named(id) }).await;
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0, "its type does not take the set");
            target_type::unassign(&node.ctx, id).await.unwrap();
        })
        .await;
        node.reacts("the type takes the set now", "name==*", async |id| {
            node.create_with(Create { target_type: Some(takes_nothing), ..named(id) }).await;
            node.drain().await;
            assert_eq!(node.actions_of(id).await.len(), 0, "its type does not take the set");
            target_types::add_compatible(&node.ctx, takes_nothing, &[os]).await.unwrap();
        })
        .await;
    })
    .await;
}

/// The first action of each target is the one that the filter asks about.
#[tokio::test]
async fn what_is_assigned_and_installed() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let device = Ctx::device(&node.services, node.ctx.tenant.clone());
        let feedback = async |id: &str, action: i64, failed: bool| {
            let feedback =
                Feedback { execution: Execution::Closed, failed, code: None, details: Vec::new(), timestamp: None };
            actions::update_feedback(&device, id, action, feedback).await.unwrap();
        };
        let other = node.set().await;
        let name = distribution_sets::get(&node.ctx, other).await.unwrap().set.name;
        let assigned = format!("assignedds.name=={name}");
        node.reacts_of("an assignment", &assigned, async |id| _ = node.assign_by_hand(id, other, false).await).await;
        let installed = format!("installedds.name=={name} and updatestatus==in_sync");
        node.reacts_of("an offline assignment", &installed, async |id| {
            node.assign_by_hand(id, other, true).await;
        })
        .await;
        node.reacts_of("success", &installed, async |id| {
            let action = node.assign_by_hand(id, other, false).await.unwrap();
            node.drain().await;
            feedback(id, action, false).await;
        })
        .await;
        node.reacts_of("failure", "updatestatus==error", async |id| {
            let action = node.assign_by_hand(id, other, false).await.unwrap();
            node.drain().await;
            feedback(id, action, true).await;
        })
        .await;
        node.reacts_of("a cancellation", "updatestatus==in_sync", async |id| {
            let action = node.assign_by_hand(id, other, false).await.unwrap();
            node.drain().await;
            actions::cancel(&node.ctx, id, action).await.unwrap();
            actions::force_quit(&node.ctx, id, action).await.unwrap();
        })
        .await;
        node.reacts_of("a renamed set", "assignedds.name==renamed", async |id| {
            node.assign_by_hand(id, other, false).await.unwrap();
            node.drain().await;
            let update = distribution_sets::Update { name: Some("renamed".into()), ..Default::default() };
            distribution_sets::update(&node.ctx, other, update).await.unwrap();
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_set_that_is_complete_again() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        node.assign_to("controllerid==d*", set).await;
        let module = distribution_sets::get(&node.ctx, set).await.unwrap().modules[0].module.id;
        let update = distribution_sets::Update { locked: Some(false), ..Default::default() };
        distribution_sets::update(&node.ctx, set, update).await.unwrap();
        distribution_sets::modules::remove(&node.ctx, set, module).await.unwrap();
        node.create("d1").await;
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len(), 0);
        distribution_sets::modules::add(&node.ctx, set, &[module]).await.unwrap();
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len(), 1);
    })
    .await;
}

/// A target that once had an action of the set gets none again, however that ended; one whose history is gone does.
#[tokio::test]
async fn deleted_history() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let device = Ctx::device(&node.services, node.ctx.tenant.clone());
        let (set, other) = (node.set().await, node.set().await);
        node.assign_to("controllerid==d1", set).await;
        node.create("d1").await;
        node.react().await;
        let action = node.actions_of("d1").await[0].id;
        let failed =
            Feedback { execution: Execution::Closed, failed: true, code: None, details: vec![], timestamp: None };
        actions::update_feedback(&device, "d1", action, failed).await.unwrap();
        node.drain().await;
        node.create("d2").await;
        node.tell(changed("DEFAULT", &["d1", "d2"])).await;
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len(), 1, "it failed once");
        node.assign_by_hand("d1", other, false).await.unwrap();
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len(), 2);
        actions::delete_selected(&node.ctx, Selected::Ids(vec![action])).await.unwrap();
        node.react().await;
        let sets: Vec<i64> = node.actions_of("d1").await.iter().map(|a| a.distribution_set).collect();
        assert_eq!(sets, [other, set]);
    })
    .await;
}

/// A list of filters is kept ready; what a macro stands for is not.
#[tokio::test]
async fn the_time_in_a_search_is_that_of_the_reaction() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        node.assign_to("createdat=lt=${now_ts}", set).await;
        node.drain().await;
        node.create("d1").await;
        node.react().await;
        assert_eq!(node.actions_of("d1").await.len(), 0, "it was created now, and not before");
        node.clock.advance(1);
        node.tell(changed("DEFAULT", &["d1"])).await;
        node.react().await;
        assert_eq!(node.actions_of("d1").await.len(), 1);
    })
    .await;
}

impl Node {
    /// As [`Node::reacts`], of a target that is there already.
    async fn reacts_of(&self, what: &str, query: &str, change: impl AsyncFnOnce(&str)) {
        self.reacts(what, query, async |id| {
            self.create(id).await;
            self.drain().await;
            assert_eq!(self.actions_of(id).await.len(), 0, "{what}: not yet");
            change(id).await;
        })
        .await;
    }

    /// Whether `change`, of or to the target that it is given, makes a filter with this query assign its set.
    async fn reacts(&self, what: &str, query: &str, change: impl AsyncFnOnce(&str)) {
        let id = format!("d-{}", rand::random::<u32>());
        let set = self.set().await;
        let filter = self.assign_to(&format!("controllerid=={id} and ({query})"), set).await;
        self.drain().await;
        change(&id).await;
        self.drain().await;
        let sets: Vec<i64> = self.actions_of(&id).await.iter().map(|action| action.distribution_set).collect();
        assert_eq!(sets.iter().filter(|assigned| **assigned == set).count(), 1, "{what}: {sets:?}");
        target_filters::stop_auto_assign(&self.ctx, filter).await.unwrap();
    }

    async fn set_type(&self, key: &str) -> i64 {
        let listing = Listing::new(0, 50, None, Some(format!("key=={key}")));
        kettle_domain::distribution_set_types::list(&self.ctx, &listing).await.unwrap().content[0].id
    }
}
