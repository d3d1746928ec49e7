//! What holds for any text and any tree.

use std::time::{Duration, Instant};

use kettle_ql::{
    Comparison, Entity, Field, Folding, Kind, MAX_LENGTH, Macros, Node, Order, Search, Test, Values, parse,
};
use proptest::prelude::*;

const ENTITY: Entity = Entity {
    table: "target",
    fields: &[
        Field::column("name", Kind::Text, "name"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("valid", Kind::Bool, "valid"),
        Field::column("status", Kind::Enum(&[("unknown", 0), ("in_sync", 1)]), "status"),
        Field::map("attribute", "attributes", "target", "key", "value"),
    ],
};

/// Texts of which most are nearly queries.
fn near_query() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "name", "createdat", "valid", "status", "attribute.a", "==", "!=", "=in=", "=out=", "=is=", "=gt=", "<=", "<",
            "(", ")", ";", ",", " and ", " or ", " ", "'", "\"", "\\", "*", "null", "true", "5", "in_sync", "${now_ts}",
            "$", "{", "}", "=", "!", "~", "é", "\t", "\0", "''",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Whatever a text is, reading and using it does not panic, and a refusal names a place within it.
fn try_out(text: &str) {
    match parse(text) {
        Err(error) => {
            assert!(error.position <= text.chars().count(), "{error}");
            assert!(!error.message.is_empty());
        }
        Ok(node) => {
            let again = parse(&node.to_string()).map(|node| node.to_string());
            assert_eq!(again, Ok(node.to_string()), "printed, read and printed");
            if let Ok(search) = Search::new(&node, &ENTITY, &Macros { now_ts: i64::MAX, overdue_ts: i64::MIN }) {
                search.condition();
                search.matches(&Values::new(Folding::Unicode));
            }
        }
    }
}

fn comparison() -> impl Strategy<Value = Node> {
    let field = "[a-z]{1,5}(\\.[a-zé0-9_-]{1,5}){0,2}";
    let text = prop_oneof![
        "[a-z0-9 *\\\\'\"(),;=<>!~%_${}éÉ\t\n]{0,8}",
        any::<String>().prop_map(|text| text.to_ascii_lowercase().replace('\0', "")),
    ];
    let is_wildcard = |text: &str| {
        matches!(parse(&format!("a=={}", quoted(text))), Ok(Node::Comparison(Comparison { test: Test::Like(_), .. })))
    };
    let order = prop::sample::select(vec![Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual]);
    let test = prop_oneof![
        1 => Just(Test::Present),
        // A text that is empty stands for null too, so it is no plain comparison.
        4 => text.clone().prop_filter("empty", |text| !text.is_empty()).prop_map(move |text| {
            if is_wildcard(&text) { Test::Like(text) } else { Test::Equal(text) }
        }),
        1 => prop::collection::vec(text.clone(), 1..4).prop_map(Test::In),
        1 => (order, text).prop_map(|(order, text)| Test::Ordered(order, text)),
    ];
    (field, any::<bool>(), test).prop_map(|(field, negated, test)| {
        let negated = negated && !matches!(test, Test::Ordered(..));
        Node::Comparison(Comparison { field, negated, test })
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

fn tree() -> impl Strategy<Value = Node> {
    comparison().prop_recursive(5, 40, 4, |inner| {
        let group = prop::collection::vec(inner, 2..5);
        prop_oneof![group.clone().prop_map(Node::And), group.prop_map(Node::Or)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        try_out(&text);
    }

    #[test]
    fn nothing_near_a_query_panics(text in near_query()) {
        try_out(&text);
    }

    #[test]
    fn a_tree_that_is_printed_is_read_as_the_same_tree(tree in tree()) {
        prop_assert_eq!(parse(&tree.to_string()), Ok(tree));
    }
}

/// Step by step the longest text takes milliseconds, while work that grew with the square of the length would be some
/// 2,000,000,000 steps. The fastest of several runs counts, as others may have been interrupted.
#[test]
fn the_longest_text_is_read_in_time_that_grows_with_its_length_alone() {
    let shapes = [
        "a==b;",
        "(",
        "((a==1),",
        "a=in=(b,c,",
        "' ",
        "'\\",
        " ",
        "a==b and ",
        "=",
        "a",
        "\\",
        "a=='x';",
        "*",
        "a==*\\*",
        ")",
        " and ",
        " or",
        "é",
        "a=in=('b\\'', ",
    ];
    for shape in shapes {
        let text = shape.repeat(MAX_LENGTH / shape.len());
        let run = |_| {
            let start = Instant::now();
            let _ = std::hint::black_box(parse(std::hint::black_box(&text)));
            start.elapsed()
        };
        let fastest = (0..5).map(run).min().unwrap_or_default();
        assert!(fastest < Duration::from_secs(1), "{shape}: {fastest:?}");
    }
}
