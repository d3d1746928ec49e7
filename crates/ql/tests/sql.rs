//! The condition a query becomes, as both engines get it.

use kettle_ql::{Entity, Field, FieldError, Kind, Macros, Step, condition, parse};
use sea_query::{PostgresQueryBuilder, Query, SqliteQueryBuilder, Value};

const SET: &[Step] = &[Step::new("ds", "id", "assigned")];
const TAGS: &[Step] = &[Step::new("target_tag", "target", "id"), Step::new("tag", "id", "tag")];
const STATUS: Kind = Kind::Enum(&[("unknown", 0), ("in_sync", 1)]);
const TARGETS: Entity = Entity {
    table: "target",
    fields: &[
        Field::column("id", Kind::Text, "controller_id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("valid", Kind::Bool, "valid"),
        Field::column("updatestatus", STATUS, "status"),
        Field::related("assignedds.name", Kind::Text, SET, "name"),
        Field::related("assignedds.id", Kind::Long, SET, "id"),
        Field::related("tag", Kind::Text, TAGS, "name"),
        Field::map("attribute", "attributes", "target", "key", "value"),
        Field::exists("autoconfirm", &[Step::new("conf", "target", "id")]),
    ],
};
const MACROS: Macros = Macros { now_ts: 2000, overdue_ts: 1000 };

#[derive(Debug)]
enum Failure {
    Parse,
    Field(FieldError),
}

/// What follows WHERE, which both engines get alike, quotes around names left out.
fn sql(query: &str) -> Result<String, Failure> {
    let node = parse(query).map_err(|_| Failure::Parse)?;
    let condition = condition(&node, &TARGETS, &MACROS).map_err(Failure::Field)?;
    let select = Query::select().column("id").from("target").cond_where(condition).to_owned();
    let postgres = select.to_string(PostgresQueryBuilder);
    // Only literals with a backslash are written differently, and values are bound in earnest.
    if !query.contains('\\') {
        assert_eq!(postgres, select.to_string(SqliteQueryBuilder));
    }
    Ok(postgres.replace('"', "").replace("SELECT id FROM target WHERE ", ""))
}

fn check(query: &str, expected: &str) {
    match sql(query) {
        Ok(sql) => assert_eq!(sql, expected, "{query}"),
        Err(failure) => panic!("{query}: {failure:?}"),
    }
}

fn check_error(query: &str, expected: &str) {
    match sql(query) {
        Err(Failure::Field(error)) => assert_eq!(error.to_string(), expected, "{query}"),
        other => panic!("{query}: {other:?}"),
    }
}

/// A tag for which `test` holds.
fn tag(test: &str) -> String {
    format!(
        "EXISTS(SELECT 1 FROM target_tag AS q1 INNER JOIN tag AS q2 ON q2.id = q1.tag WHERE q1.target = target.id AND {test})"
    )
}

fn assigned(test: &str) -> String {
    format!("EXISTS(SELECT 1 FROM ds AS q1 WHERE q1.id = target.assigned AND {test})")
}

fn attribute(key: &str, test: &str) -> String {
    format!(
        "EXISTS(SELECT 1 FROM attributes AS q1 WHERE q1.target = target.id AND UPPER(q1.key) = UPPER('{key}') AND {test})"
    )
}

#[test]
fn text_is_compared_without_regard_to_case() {
    check("name==Alpha", "UPPER(target.name) = UPPER('alpha')");
    check("name==É", "UPPER(target.name) = UPPER('É')");
    check("name=in=(a,b*)", "UPPER(target.name) IN (UPPER('a'), UPPER('b*'))");
    check("name==*a", "UPPER(target.name) LIKE UPPER('%a') ESCAPE '!'");
    check(r"name=='x!_%\\**'", "UPPER(target.name) LIKE UPPER('x!!!_!%*%') ESCAPE '!'");
    check(r"name==gamma\*", r"UPPER(target.name) = UPPER(E'gamma\\*')");
    check("id=gt=S4", "target.controller_id > 's4'");
}

#[test]
fn null_passes_negated_tests() {
    check("name!=a", "target.name IS NULL OR (NOT UPPER(target.name) = UPPER('a'))");
    check("name!=*a", "target.name IS NULL OR (NOT UPPER(target.name) LIKE UPPER('%a') ESCAPE '!')");
    check("name=out=(a)", "target.name IS NULL OR (NOT UPPER(target.name) IN (UPPER('a')))");
    check("createdat!=5", "target.created_at IS NULL OR (NOT target.created_at = 5)");
    check("valid!=true", "target.valid IS NULL OR (NOT target.valid = TRUE)");
    check("updatestatus!=in_sync", "target.status IS NULL OR (NOT target.status = 1)");
}

#[test]
fn absence_and_emptiness() {
    check("name=is=null", "target.name IS NULL");
    check("name=not=null", "target.name IS NOT NULL");
    check("name==null", "UPPER(target.name) = UPPER('null')");
    check("name==''", "target.name IS NULL OR UPPER(target.name) = UPPER('')");
    check(
        "name!=''",
        "UPPER(target.name) LIKE UPPER('%') ESCAPE '!' AND (target.name IS NULL OR (NOT UPPER(target.name) = UPPER('')))",
    );
    check("createdat=is=null", "target.created_at IS NULL");
    check("createdat==*", "target.created_at IS NOT NULL");
    check("createdat!=*", "target.created_at IS NULL");
}

#[test]
fn values_have_the_kind_of_the_field() {
    check("createdat=lt=${NOW_TS}", "target.created_at < 2000");
    check("createdat=le=${OVERDUE_TS}", "target.created_at <= 1000");
    check("createdat>1", "target.created_at > 1");
    check("createdat>=-1", "target.created_at >= -1");
    check("name==${now_ts}*", "UPPER(target.name) LIKE UPPER('2000%') ESCAPE '!'");
    check("valid==true", "target.valid = TRUE");
    check("updatestatus=in=(unknown,IN_SYNC)", "target.status IN (0, 1)");
}

#[test]
fn groups_keep_their_precedence() {
    check(
        "(name==a,name==b);name!=c",
        "(UPPER(target.name) = UPPER('a') OR UPPER(target.name) = UPPER('b')) AND \
         (target.name IS NULL OR (NOT UPPER(target.name) = UPPER('c')))",
    );
    check(
        "name==a,name!=b;createdat>1",
        "UPPER(target.name) = UPPER('a') OR \
         ((target.name IS NULL OR (NOT UPPER(target.name) = UPPER('b'))) AND target.created_at > 1)",
    );
}

#[test]
fn a_related_row_passes_or_none_does() {
    check("assignedds.name==x", &assigned("UPPER(q1.name) = UPPER('x')"));
    check("assignedds.name!=x", &format!("NOT {}", assigned("UPPER(q1.name) = UPPER('x')")));
    check("assignedds.name=is=null", &format!("NOT {}", assigned("q1.name IS NOT NULL")));
    check("assignedds.id=out=(1,2)", &format!("NOT {}", assigned("q1.id IN (1, 2)")));
    check("assignedds.id==*", &assigned("q1.id IS NOT NULL"));
    check("tag==x", &tag("UPPER(q2.name) = UPPER('x')"));
    check("tag!=x*", &format!("NOT {}", tag("UPPER(q2.name) LIKE UPPER('x%') ESCAPE '!'")));
    check("tag==a;tag==b", &[tag("UPPER(q2.name) = UPPER('a')"), tag("UPPER(q2.name) = UPPER('b')")].join(" AND "));
    check("tag==''", &format!("(NOT {}) OR {}", tag("q2.name IS NOT NULL"), tag("UPPER(q2.name) = UPPER('')")));
}

#[test]
fn a_map_is_asked_by_key() {
    check("attribute.HW.rev==1", &attribute("hw.rev", "UPPER(q1.value) = UPPER('1')"));
    check("attribute.hw!=1", &attribute("hw", "(q1.value IS NULL OR (NOT UPPER(q1.value) = UPPER('1')))"));
    check("attribute.hw=out=(1)", &attribute("hw", "(q1.value IS NULL OR (NOT UPPER(q1.value) IN (UPPER('1'))))"));
    check("attribute.hw=is=null", &format!("NOT {}", attribute("hw", "q1.value IS NOT NULL")));
    check("attribute.hw=not=null", &attribute("hw", "q1.value IS NOT NULL"));
    check(
        "attribute.hw==''",
        &format!(
            "(NOT {}) OR {}",
            attribute("hw", "q1.value IS NOT NULL"),
            attribute("hw", "UPPER(q1.value) = UPPER('')")
        ),
    );
}

#[test]
fn existence_is_true_or_false() {
    let row = "EXISTS(SELECT 1 FROM conf AS q1 WHERE q1.target = target.id)";
    check("autoconfirm==true", row);
    check("autoconfirm==false", &format!("NOT {row}"));
    check("autoconfirm!=true", &format!("NOT {row}"));
    check("autoconfirm!=false", row);
}

#[test]
fn queries_that_do_not_fit() {
    for field in ["nofield", "name.x", "attribute", "attribute.", "assignedds", "assignedds.x", "securitytoken", "."] {
        check_error(&format!("{field}==*"), &format!("There is no search field {field}"));
    }
    let status = "Value of updatestatus must be one of the following: [unknown, in_sync]";
    for query in ["==nonsense", "==*", "==''", "=in=(unknown,x)", "=gt=x"] {
        check_error(&format!("updatestatus{query}"), status);
    }
    check_error("updatestatus=gt=unknown", "updatestatus has no order");
    for query in ["=gt=notadate", "==1*", "==''", "=in=(1,x)", "==1.5", "==9223372036854775808"] {
        check_error(&format!("createdat{query}"), "The value of createdat must be a number");
    }
    for query in ["==yes", "==*", "=gt=x"] {
        check_error(&format!("valid{query}"), "The value of valid must be true or false");
    }
    check_error("valid=gt=true", "valid has no order");
    for query in ["==yes", "=is=null", "=in=(true)", "==''", "==*"] {
        check_error(&format!("autoconfirm{query}"), "The value of autoconfirm must be true or false");
    }
    check_error("autoconfirm=lt=true", "autoconfirm has no order");
    check_error("name==a;(createdat>1,nofield==1)", "There is no search field nofield");
}

#[test]
fn values_are_bound() {
    let query = "name=='; drop';createdat>5;valid==true;updatestatus==in_sync;attribute.k==x*;id<a";
    let Ok(Ok(condition)) = parse(query).map(|node| condition(&node, &TARGETS, &MACROS)) else {
        panic!("{query}");
    };
    let (_, values) = Query::select().column("id").from("target").cond_where(condition).build(PostgresQueryBuilder);
    let text = |value: &str| Value::from(value);
    assert_eq!(values.0, [text("; drop"), 5_i64.into(), true.into(), 1_i64.into(), text("k"), text("x%"), text("a")]);
}

#[test]
fn only_columns_of_the_root_sort() {
    assert_eq!(TARGETS.sort_column("createdAt"), Some("created_at"));
    assert_eq!(TARGETS.sort_column("ID"), Some("controller_id"));
    for field in ["tag", "assignedds.name", "attribute", "attribute.hw", "autoconfirm", "nofield", ""] {
        assert_eq!(TARGETS.sort_column(field), None, "{field}");
    }
}
