//! The two back ends of the search language answer alike: random queries over random targets, by SQL and in memory.

use std::{
    cell::Cell,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use kettle_db::sea_orm::{self, Value};
use kettle_domain::search;
use kettle_ql::{Comparison, Kind, Macros, Node as Tree, Order, Path, Search, Test};
use proptest::{
    prelude::*,
    strategy::Union,
    test_runner::{TestCaseError, TestRunner},
};
use rand::Rng as _;

use super::*;
use crate::harness::seeded;

const TARGETS: i64 = 60;
const QUERIES: u32 = 600;
/// The time for the queries of one engine; there are fewer of them on a slow machine.
const AT_MOST: Duration = Duration::from_secs(10);
const MACROS: Macros = Macros { now_ts: 2000, overdue_ts: 5 };

/// Texts that differ by case, hold what is special somewhere, or nothing.
const TEXTS: [&str; 33] = [
    "",
    " ",
    "alpha",
    "ALPHA",
    "Alpha",
    "al*pha",
    r"al\pha",
    r"al\*",
    r"\",
    "*",
    "50%",
    "50",
    "a_b",
    "aXb",
    "wow!",
    "!%",
    "it's",
    "\"q\"",
    "null",
    "é",
    "É",
    "ß",
    "SS",
    "ᾳ",
    "ᾼ",
    "ǆ",
    "ı",
    "日本",
    "🚀",
    "true",
    "5",
    "2000",
    "${now_ts}",
];
const NUMBERS: [&str; 6] = ["0", "5", "2000", "-1", "9223372036854775807", "${overdue_ts}"];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned),
        1 => "[aAbBé5%_!*\\\\' ]{0,5}",
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => Just("*".to_owned()),
        1 => Just(r"\*".to_owned()),
        2 => "[alphxbé5%_!\\\\]{1,2}",
        1 => prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat() + "*")
}

/// A test that a field of this kind takes. As after parsing, its text is in lower case.
fn test(kind: Kind, existence: bool) -> BoxedStrategy<Test> {
    let order = prop::sample::select(vec![Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual]);
    let lower = |text: String| text.to_ascii_lowercase();
    let plain = match kind {
        Kind::Text => text().prop_map(lower).boxed(),
        Kind::Long => prop::sample::select(NUMBERS.to_vec()).prop_map(str::to_owned).boxed(),
        Kind::Bool => prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned).boxed(),
        Kind::Enum(names) => prop::sample::select(names.to_vec()).prop_map(|(name, _)| name.to_owned()).boxed(),
    };
    if existence {
        return plain.prop_map(Test::Equal).boxed();
    }
    let mut tests = vec![
        Just(Test::Present).boxed(),
        plain.clone().prop_map(Test::Equal).boxed(),
        prop::collection::vec(plain.clone(), 1..4).prop_map(Test::In).boxed(),
    ];
    match kind {
        Kind::Text => tests.push(pattern().prop_map(lower).prop_map(Test::Like).boxed()),
        Kind::Long => tests.push(Just(Test::Like("*".to_owned())).boxed()),
        Kind::Bool | Kind::Enum(_) => {}
    }
    if matches!(kind, Kind::Text | Kind::Long) {
        tests.push((order, plain).prop_map(|(order, value)| Test::Ordered(order, value)).boxed());
    }
    Union::new(tests).boxed()
}

fn comparison() -> impl Strategy<Value = Tree> {
    let field = prop::sample::select(targets::fields::ENTITY.fields.to_vec());
    field.prop_flat_map(|field| {
        let name = match field.path {
            Path::Map { .. } => text()
                .prop_filter("a key that can be written", |key| !key.is_empty())
                .prop_map(move |key| format!("{}.{}", field.name, key.to_ascii_lowercase()))
                .boxed(),
            _ => Just(field.name.to_owned()).boxed(),
        };
        let test = test(field.kind, matches!(field.path, Path::Exists { .. }));
        (name, any::<bool>(), test).prop_map(|(field, negated, test)| {
            let negated = negated && !matches!(test, Test::Ordered(..));
            Tree::Comparison(Comparison { field, negated, test })
        })
    })
}

fn query() -> impl Strategy<Value = Tree> {
    comparison().prop_recursive(3, 12, 3, |inner| {
        let group = prop::collection::vec(inner, 2..4);
        prop_oneof![group.clone().prop_map(Tree::And), group.prop_map(Tree::Or)]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_in_memory_finds_what_the_database_finds() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        fill(&store).await;
        let ids = rows_where(&store, "TRUE").await;
        assert_eq!(ids.len() as i64, TARGETS);
        let ids: Vec<i64> = ids.into_iter().collect();
        let (started, asked, split) = (Instant::now(), Cell::new(0), Cell::new(0));
        let mut runner =
            TestRunner::new(ProptestConfig { cases: QUERIES, failure_persistence: None, ..Default::default() });
        let ran = runner.run(&query(), |query| {
            if started.elapsed() > AT_MOST {
                return Ok(());
            }
            let search = Search::new(&query, &targets::fields::ENTITY, &MACROS);
            let search = search.map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
            let (by_sql, in_memory) = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let found = found_by_sql(&store, &search).await;
                    let values =
                        search::values(&node.ctx, &targets::fields::ENTITY, std::slice::from_ref(&search), &ids)
                            .await
                            .unwrap();
                    assert_eq!(values.len(), ids.len());
                    let matching = values.iter().filter(|(_, values)| search.matches(values));
                    (found, matching.map(|(id, _)| *id).collect::<BTreeSet<_>>())
                })
            });
            prop_assert_eq!(&by_sql, &in_memory, "by the database and in memory: {}", query);
            asked.set(asked.get() + 1);
            split.set(split.get() + i32::from(!by_sql.is_empty() && by_sql.len() < ids.len()));
            Ok(())
        });
        ran.unwrap_or_else(|failure| panic!("{failure}"));
        let (asked, split) = (asked.get(), split.get());
        assert!(asked >= 20 && split * 4 > asked, "{asked} queries, of which {split} told targets apart");
    })
    .await;
}

async fn found_by_sql(store: &Store, search: &Search) -> BTreeSet<i64> {
    let mut select = sea_orm::sea_query::Query::select();
    select.column("id").from("sp_target").cond_where(search.condition());
    let rows = store.db.read().query_all(&select).await.unwrap();
    rows.iter().map(|row| row.try_get("", "id").unwrap()).collect()
}

async fn rows_where(store: &Store, condition: &str) -> BTreeSet<i64> {
    let rows = store.rows(&format!("SELECT id FROM sp_target WHERE {condition}"), []).await;
    rows.iter().map(|row| row.try_get("", "id").unwrap()).collect()
}

/// Targets with everything that can be searched for, drawn at random; the seed is fixed, the queries are not.
async fn fill(store: &Store) {
    let mut draw = Draw(seeded(1));
    let now = || Value::from(0_i64);
    let insert = async |sql: &str, values: Vec<Value>| {
        let statement = store.db.engine().statement(sql, values);
        store.db.write().execute_raw(statement).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    for id in 1..=6_i64 {
        let common = |name: String| vec![id.into(), name.into(), now()];
        insert(
            "INSERT INTO sp_target_tag (id, tenant, name, created_at) VALUES ($1, 'DEFAULT', $2, $3)",
            common(format!("{}{}", draw.text(), if id > 3 { id.to_string() } else { String::new() })),
        )
        .await;
        insert(
            "INSERT INTO sp_target_type (id, tenant, name, created_at, type_key) VALUES ($1, 'DEFAULT', $2, $3, $4)",
            [common(format!("{}{id}", draw.text())), vec![format!("{}{id}", draw.text()).into()]].concat(),
        )
        .await;
        insert(
            "INSERT INTO sp_distribution_set (id, tenant, name, created_at, version, deleted, required_migration_step, \
             ds_type, valid, locked) SELECT $1, 'DEFAULT', $2, $3, $4, false, false, min(id), true, false \
             FROM sp_distribution_set_type",
            [common(draw.text()), vec![format!("{}{id}", draw.text()).into()]].concat(),
        )
        .await;
    }
    for id in 1..=TARGETS {
        let controller_id = format!("{}{}{id}", draw.text().replace(' ', ""), draw.text().replace(' ', ""));
        let (assigned, installed, kind) = (draw.reference(), draw.reference(), draw.reference());
        insert(
            "INSERT INTO sp_target (id, tenant, controller_id, name, description, created_at, created_by, \
             last_modified_at, last_modified_by, update_status, address, target_group, last_target_query, \
             assigned_distribution_set, installed_distribution_set, target_type, sec_token, \
             request_controller_attributes) VALUES ($1, 'DEFAULT', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
             $14, $15, '', false)",
            vec![
                id.into(),
                controller_id.into(),
                draw.text().into(),
                draw.maybe_text(),
                draw.maybe_number(),
                draw.maybe_text(),
                draw.maybe_number(),
                draw.maybe_text(),
                draw.below(5).into(),
                draw.maybe_text(),
                draw.maybe_text(),
                draw.maybe_number(),
                assigned,
                installed,
                kind,
            ],
        )
        .await;
        for (table, key, value) in [
            ("sp_target_attributes", "attribute_key", "attribute_value"),
            ("sp_target_metadata", "meta_key", "meta_value"),
        ] {
            let keys: BTreeSet<String> = (0..draw.below(8)).map(|_| draw.text()).collect();
            for entry in keys {
                let sql = format!("INSERT INTO {table} (target, {key}, {value}) VALUES ($1, $2, $3)");
                insert(&sql, vec![id.into(), entry.into(), draw.maybe_text()]).await;
            }
        }
        for tag in 1..=6_i64 {
            if draw.below(4) == 0 {
                let sql = "INSERT INTO sp_target_target_tag (target, tag) VALUES ($1, $2)";
                insert(sql, vec![id.into(), tag.into()]).await;
            }
        }
        if draw.below(3) == 0 {
            let sql = "INSERT INTO sp_target_conf_status (tenant, target) VALUES ('DEFAULT', $1)";
            insert(sql, vec![id.into()]).await;
        }
    }
}

struct Draw(rand::rngs::StdRng);

impl Draw {
    fn below(&mut self, end: i32) -> i32 {
        self.0.random_range(0..end)
    }

    fn text(&mut self) -> String {
        TEXTS[self.0.random_range(0..TEXTS.len())].to_owned()
    }

    fn maybe_text(&mut self) -> Value {
        let text = (self.below(4) > 0).then(|| self.text());
        text.into()
    }

    fn maybe_number(&mut self) -> Value {
        let numbers = [0, 5, 2000, -1, i64::MAX, 7];
        let number = (self.below(4) > 0).then(|| numbers[self.0.random_range(0..numbers.len())]);
        number.into()
    }

    /// To one of the sets or types, or to none.
    fn reference(&mut self) -> Value {
        let id = self.below(9);
        (1..=6).contains(&id).then_some(i64::from(id)).into()
    }
}
