//! What a database says of its own tables, as JSON by table.

use serde_json::{Map, Value, json};

use super::column;
use crate::harness::{Store, psql};

/// Types, constraints and indexes in the format of shared/reference/schema_postgresql.json.
pub fn of_postgres(url: &str, tables: &str) -> Value {
    let sql = format!(
        r"SELECT coalesce(json_object_agg(c.relname, json_build_object(
            'columns', (SELECT json_agg(json_strip_nulls(json_build_object(
                'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'null', NOT a.attnotnull,
                'default', pg_get_expr(d.adbin, d.adrelid))) ORDER BY a.attnum)
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'constraints', (SELECT coalesce(json_agg(conname || ': ' || pg_get_constraintdef(oid)), '[]')
              FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n'),
            'indexes', (SELECT coalesce(json_agg(regexp_replace(pg_get_indexdef(indexrelid),
                '^CREATE (UNIQUE )?INDEX (\S+) ON \S+ USING (.*)$', '\1INDEX \2 \3')), '[]')
              FROM pg_index WHERE indrelid = c.oid))), '{{}}')
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.relname LIKE '{tables}'"
    );
    serde_json::from_str(&psql(url, &sql)).unwrap()
}

/// A table with its constraints and indexes in order; that of the columns is the table's own.
pub fn sorted(table: &Value) -> Value {
    let mut table = table.clone();
    for list in ["constraints", "indexes"] {
        table[list].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    table
}

/// A table of the peer without the indexes that Kettle adds to it.
pub fn without_our_indexes(table: &Value) -> Value {
    let mut table = table.clone();
    table["indexes"].as_array_mut().unwrap().retain(|index| !index.as_str().unwrap().contains("INDEX kt_"));
    table
}

/// Columns in order, unique and other indexes, primary key and references, without types and names of keys.
pub fn shape_of_postgres(url: &str) -> Value {
    let mut shape = Map::new();
    for (table, found) in of_postgres(url, "%").as_object().unwrap() {
        let columns = found["columns"].as_array().unwrap().iter();
        let columns: Vec<Value> = columns
            .map(|c| column(c["name"].as_str().unwrap(), c["null"].as_bool().unwrap()))
            // The transaction's id, by which nodes read: SQLite has one writer and no other node.
            .filter(|c| table != "kt_outbox" || c["name"] != "xid")
            .collect();
        let mut references = Vec::new();
        let mut key = Value::Null;
        for constraint in texts(&found["constraints"]) {
            let (_, definition) = constraint.split_once(": ").unwrap();
            if let Some(columns) = definition.strip_prefix("PRIMARY KEY ") {
                key = columns.into();
            } else {
                references.push(definition.to_owned());
            }
        }
        references.sort();
        let indexes =
            texts(&found["indexes"]).filter(|index| !index.contains("_pkey ") && !index.contains("outbox_xid"));
        // Those over expressions are compared by a test of their own: SQLite tells no more of them than their text.
        let indexes = indexes.filter(|index| !(table.starts_with("sp_") && index.contains("INDEX kt_")));
        let mut indexes: Vec<String> =
            indexes.map(|i| i.split(" INCLUDE ").next().unwrap().replace(" btree", "")).collect();
        indexes.sort();
        let table_shape = json!({"columns": columns, "key": key, "references": references, "indexes": indexes});
        shape.insert(table.clone(), table_shape);
    }
    Value::Object(shape)
}

/// The same of SQLite.
pub async fn shape_of_sqlite(store: &Store) -> Value {
    let mut shape = Map::new();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    for table in store.rows(sql, []).await {
        let table: String = table.try_get("", "name").unwrap();
        let sql = "SELECT name, \"notnull\" AS required, pk, type FROM pragma_table_info($1) ORDER BY cid";
        let mut key = Vec::new();
        let mut columns = Vec::new();
        for row in store.rows(sql, [table.as_str().into()]).await {
            let (name, kind): (String, String) = (row.try_get("", "name").unwrap(), row.try_get("", "type").unwrap());
            let (required, in_key): (i32, i32) = (row.try_get("", "required").unwrap(), row.try_get("", "pk").unwrap());
            // SQLite takes NULL in a primary key unless told otherwise; only its row id never is.
            let is_row_id = in_key == 1 && kind.eq_ignore_ascii_case("INTEGER");
            columns.push(column(&name, required == 0 && !is_row_id));
            if in_key > 0 {
                key.push((in_key, name));
            }
        }
        key.sort();
        let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
        let key = (!key.is_empty()).then(|| format!("({})", key.join(", ")));
        let table_shape = json!({
            "columns": columns,
            "key": key,
            "references": references(store, &table).await,
            "indexes": indexes(store, &table).await,
        });
        shape.insert(table, table_shape);
    }
    Value::Object(shape)
}

async fn references(store: &Store, table: &str) -> Vec<String> {
    let sql = "SELECT group_concat(\"from\", ', ') AS mine, \"table\" AS other, group_concat(\"to\", ', ') AS theirs, \
               max(on_delete) AS on_delete FROM pragma_foreign_key_list($1) GROUP BY id, \"table\"";
    let mut references = Vec::new();
    for row in store.rows(sql, [table.into()]).await {
        let [mine, other, theirs, on_delete]: [String; 4] =
            ["mine", "other", "theirs", "on_delete"].map(|column| row.try_get("", column).unwrap());
        let on_delete = if on_delete == "NO ACTION" { String::new() } else { format!(" ON DELETE {on_delete}") };
        references.push(format!("FOREIGN KEY ({mine}) REFERENCES {other}({theirs}){on_delete}"));
    }
    references.sort();
    references
}

async fn indexes(store: &Store, table: &str) -> Vec<String> {
    let sql = "SELECT l.name, l.\"unique\" AS one, (SELECT group_concat(name, ', ') \
                 FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) AS columns \
               FROM pragma_index_list($1) l WHERE l.origin = 'c'";
    let mut indexes = Vec::new();
    for row in store.rows(sql, [table.into()]).await {
        let (name, columns): (String, String) = (row.try_get("", "name").unwrap(), row.try_get("", "columns").unwrap());
        if table.starts_with("sp_") && name.starts_with("kt_") {
            continue;
        }
        let unique = if row.try_get::<i32>("", "one").unwrap() == 1 { "UNIQUE " } else { "" };
        indexes.push(format!("{unique}INDEX {name} ({columns})"));
    }
    indexes.sort();
    indexes
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|entry| entry.as_str().unwrap())
}
