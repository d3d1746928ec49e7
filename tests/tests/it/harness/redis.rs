//! A private Redis on the loopback device, of one test: it may be killed and made to hang.

use super::{keeper::Keeper, launch::free_port};

pub struct Redis {
    pub port: u16,
    keeper: Keeper,
}

impl Redis {
    pub fn start() -> Redis {
        let folder = tempfile::Builder::new().prefix("kettle-redis-").tempdir().unwrap().keep();
        let port = free_port();
        let keeper = Keeper::new("Redis", include_str!("redis.sh"), &[&folder, &port.to_string()]);
        keeper.tell("start");
        Redis { port, keeper }
    }

    /// What makes a server use it, as arguments of `--set`.
    pub fn settings(&self) -> [String; 2] {
        ["spring.data.redis.host=127.0.0.1".to_owned(), format!("spring.data.redis.port={}", self.port)]
    }

    /// The answer to a command, which is asked past all servers.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// What it holds is lost.
    pub fn kill9(&self) {
        self.keeper.tell("kill");
    }

    pub fn restart(&self) {
        self.keeper.tell("start");
    }

    /// It takes connections and answers nothing.
    pub fn pause(&self) {
        self.keeper.tell("pause");
    }

    pub fn resume(&self) {
        self.keeper.tell("resume");
    }
}
