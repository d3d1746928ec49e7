//! `q=` of lists: what is wrong is said with its place, and a page comes with the number of all hits.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn a_search_that_is_no_query_is_refused_with_the_place_where_reading_failed() {
    on_each_engine(async |server: Server| {
        for list in
            ["targets", "distributionsets", "softwaremodules", "softwaremoduletypes", "distributionsettypes", "actions"]
        {
            for (q, code, says) in [
                ("id=zz=x", "rsqlParamSyntax", "at character 2: there is no comparison operator =zz="),
                ("id==", "rsqlParamSyntax", "at character 4: expected a value, found the end"),
                ("id==1;(id==2", "rsqlParamSyntax", "at character 12: expected and, or, or ), found the end"),
                ("id==%27open", "rsqlParamSyntax", "at character 4: unexpected ' without its closing '"),
                ("id==%C3%A9%20x", "rsqlParamSyntax", "at character 6: expected and, or, or the end, found x"),
                ("nofield==1", "rsqlInvalidField", "There is no search field nofield"),
                ("id==1;NoField.Sub==1", "rsqlInvalidField", "There is no search field nofield.sub"),
            ] {
                let refused = server.get(&format!("/rest/v1/{list}?q={q}")).await.expect(400).json();
                assert_eq!(refused["errorCode"], format!("hawkbit.server.error.rest.param.{code}"), "{list} {q}");
                let message = refused["message"].as_str().unwrap();
                assert!(message.contains(says), "{list} {q}: {message}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_of_hits_comes_with_the_number_of_all_of_them() {
    on_each_engine(async |server: Server| {
        let targets: Vec<_> = (0..12)
            .map(|n| json!({"controllerId": format!("d{n:02}"), "name": if n % 2 == 0 { "Even" } else { "odd" }}))
            .collect();
        server.post("/rest/v1/targets", json!(targets)).await.expect(201);
        for (query, ids, total) in [
            ("q=name==even", vec!["d00", "d02", "d04", "d06", "d08", "d10"], 6),
            ("q=name==even&limit=2", vec!["d00", "d02"], 6),
            ("q=name==even&limit=2&offset=4", vec!["d08", "d10"], 6),
            ("q=name==even&limit=2&offset=5", vec!["d10"], 6),
            ("q=name==even&limit=2&offset=6", vec![], 6),
            ("q=name==even&limit=2&sort=controllerid:DESC", vec!["d10", "d08"], 6),
            ("q=id=in=(d01,D02,d03)&sort=name:ASC,controllerid:DESC", vec!["d02", "d03", "d01"], 3),
            ("q=id=in=(d01,d02)&sort=name:DESC,name:ASC,id:ASC", vec!["d01", "d02"], 2),
            ("q=name==ev*;id==*0", vec!["d00", "d10"], 2),
            ("q=name==none", vec![], 0),
            ("q=name==none&offset=3", vec![], 0),
        ] {
            let list = server.get(&format!("/rest/v1/targets?{query}")).await.expect(200).json();
            let content = list["content"].as_array().unwrap();
            let found: Vec<&str> = content.iter().map(|t| t["controllerId"].as_str().unwrap()).collect();
            assert_eq!(
                (found, &list["total"], &list["size"]),
                (ids.clone(), &json!(total), &json!(ids.len())),
                "{query}"
            );
        }
    })
    .await;
}
