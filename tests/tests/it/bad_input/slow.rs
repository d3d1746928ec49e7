//! Connections that hardly send or hardly read must not keep the server from others.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::{Connection, Server, bytes_of, on_each_engine, timed};

const SLOW: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_per_second_does_not_block_others() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let mut senders = JoinSet::new();
        for n in 0..SLOW {
            let mut connection = Connection::open(server.port).await;
            let (now, slowly) = if n % 2 == 0 {
                ("", "GET /rest/v1/targets HTTP/1.1\r\nHost: slow.example.com\r\n\r\n".to_owned())
            } else {
                let head = "POST /rest/v1/targets HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000\r\n\r\n";
                (head, "[".repeat(1000))
            };
            assert!(connection.send(now).await);
            senders.spawn(async move { connection.drip(slowly.as_bytes(), Duration::from_secs(1)).await });
        }
        let work = async {
            for n in 0..50 {
                server.device(&format!("d{n}")).poll().await;
            }
            server.get("/rest/v1/targets").await.expect(200).json()["total"].as_i64()
        };
        let (total, took) = timed(work).await;
        assert_eq!(total, Some(50));
        assert!(took < Duration::from_secs(5), "50 polls took {took:?}");
        senders.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_reading_cost_no_memory_and_no_one_elses_time() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let content = bytes_of(20_000_000, 6);
        let (set, _) = server.pending("d1", &[("big.bin", &content)]).await;
        let device = server.device("d1");
        let mut readers = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(server.port).await;
            let request = format!(
                "GET {}/softwaremodules/{}/artifacts/big.bin HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n",
                device.root, set.module, device.authorization
            );
            assert!(connection.send(request).await);
            connection.read_some(1000).await;
            readers.push(connection);
        }
        let (_, took) = timed(device.poll()).await;
        assert!(took < Duration::from_secs(2), "a poll took {took:?}");
        let (_, highest) = server.process().resident_kib();
        assert!(highest < 150 * 1024, "{highest} KiB");
    })
    .await;
}
