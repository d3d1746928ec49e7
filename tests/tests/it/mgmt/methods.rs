//! What every path of the Management API says of itself.

use reqwest::Method;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn options_tells_what_a_path_takes() {
    on_each_engine(async |server: Server| {
        let headers = [("Authorization", server.admin.as_str())];
        for (path, methods) in [
            ("/rest/v1/targets", ["GET", "HEAD", "OPTIONS", "POST"].as_slice()),
            ("/rest/v1/targetgroups/eu", ["OPTIONS", "PUT"].as_slice()),
        ] {
            let answer = server.request(Method::OPTIONS, path, &headers, None).await.expect_empty(200);
            let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            allowed.sort_unstable();
            assert_eq!(allowed, methods, "{path}");
        }
        server.request(Method::OPTIONS, "/rest/v1/nothing", &headers, None).await.expect(404);
        server.request(Method::OPTIONS, "/rest/v1/targets", &[], None).await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn sort_takes_empty_parts_and_no_third_word_and_a_search_is_not_empty() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        for sort in ["", ",", "name:ASC,", ",,name:asc", "name::asc"] {
            server.get(&format!("/rest/v1/targets?sort={sort}")).await.expect(200);
        }
        let key = "hawkbit.server.error.rest.param.sortParamSyntax";
        let wrong = "hawkbit.server.error.rest.param.rsqlParamSyntax";
        server.get("/rest/v1/targets?q=").await.expect_error(400, wrong);
        for sort in ["name", ":ASC", "name:", "name:ASC:x", "name:ASC,id"] {
            server.get(&format!("/rest/v1/targets?sort={sort}")).await.expect_error(400, key);
        }
    })
    .await;
}
