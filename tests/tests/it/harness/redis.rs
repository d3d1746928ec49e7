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
