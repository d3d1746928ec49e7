//! Private RabbitMQ brokers on the loopback device: one that the tests of this process share, each in a virtual host of
//! its own, and others for tests that kill it or speak TLS to it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{Engine, Gateway, Server, eventually_within, keeper::Keeper, launch::free_port};

const ANSWER: Duration = Duration::from_secs(20);

pub struct Broker {
    pub port: u16,
    /// Where it speaks TLS, if it was started so.
    pub tls_port: u16,
    folder: PathBuf,
    keeper: Keeper,
}

impl Broker {
    /// The one that most tests share; nobody may stop it.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    pub fn start() -> Broker {
        Self::launch(|_, _| String::new())
    }

    /// One that speaks TLS too, with `server.pem` and `server.key`, to clients whose certificates `ca.pem` vouches for.
    pub fn start_with_tls(certificates: &Path) -> Broker {
        Self::launch(|folder, port| {
            let copy = |name: &str| {
                fs::copy(certificates.join(name), folder.join(name)).unwrap();
                folder.join(name).display().to_string()
            };
            format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
                copy("ca.pem"),
                copy("server.pem"),
                copy("server.key"),
            )
        })
    }

    fn launch(more: impl FnOnce(&Path, u16) -> String) -> Broker {
        let folder = tempfile::Builder::new().prefix("kettle-mq-").tempdir().unwrap().keep();
        let [port, tls_port, distribution, epmd] = [(); 4].map(|()| free_port());
        let mut settings = format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\n");
        settings.push_str(&more(&folder, tls_port));
        fs::write(folder.join("rabbitmq.conf"), settings).unwrap();
        let ports = [port, distribution, epmd].map(|port| port.to_string());
        let keeper = Keeper::new("RabbitMQ", include_str!("rabbitmq.sh"), &[&folder, &ports[0], &ports[1], &ports[2]]);
        let broker = Broker { port, tls_port, folder, keeper };
        broker.keeper.tell("start");
        broker
    }

    /// Ends it as `kill -9` does. What is durable survives, on the same port.
    pub fn kill9(&self) {
        self.keeper.tell("kill");
    }

    pub fn restart(&self) {
        self.keeper.tell("start");
    }

    /// The value of an Erlang expression, evaluated inside the broker, as Erlang writes it.
    pub fn eval(&self, expression: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let answer = self.folder.join(format!("answer-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let (whole, part) = (answer.display(), answer.with_extension("part"));
        let part = part.display();
        let line = format!(
            "file:write_file(\"{part}\", io_lib:format(\"~0tp\", [catch begin {expression} end])), \
             file:rename(\"{part}\", \"{whole}\").\n"
        );
        let shell = fs::File::options().write(true).open(self.folder.join("shell"));
        shell.unwrap().write_all(line.as_bytes()).unwrap();
        let value = eventually_within(ANSWER, expression, || fs::read_to_string(&answer).ok());
        let _ = fs::remove_file(&answer);
        value
    }

    /// The one that every broker has. Two tests must not use it at the same time.
    pub fn default_host(&self) -> VirtualHost<'_> {
        VirtualHost { broker: self, name: "/".to_owned() }
    }

    /// A new virtual host; it goes when the value does.
    pub fn virtual_host(&self) -> VirtualHost<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let made = self.eval(&format!(
            "ok = rabbit_vhost:add(<<\"{name}\">>, <<\"test\">>), rabbit_auth_backend_internal:set_permissions(\
             <<\"guest\">>, <<\"{name}\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)"
        ));
        assert_eq!(made, "ok");
        VirtualHost { broker: self, name }
    }
}

pub struct VirtualHost<'b> {
    pub broker: &'b Broker,
    pub name: String,
}

impl VirtualHost<'_> {
    /// What makes a server use it, as arguments of `--set`.
    pub fn settings(&self) -> Vec<String> {
        vec![
            "spring.rabbitmq.host=127.0.0.1".to_owned(),
            format!("spring.rabbitmq.port={}", self.broker.port),
            format!("spring.rabbitmq.virtual-host={}", self.name),
        ]
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{}", self.broker.port, self.name.replace('/', "%2F"))
    }

    /// A server on a fresh database that speaks to devices here. It may still be connecting.
    pub async fn server(&self, engine: Engine, more: &[&str]) -> Server {
        let own = self.settings();
        let settings: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Server::start_with(engine, &settings).await
    }

    /// How many messages a queue holds, delivered and not acknowledged ones too; none without such a queue.
    pub fn depth(&self, queue: &str) -> Option<u64> {
        self.number(queue, "messages")
    }

    /// How many of them are with consumers that have not acknowledged them.
    pub fn unacknowledged(&self, queue: &str) -> u64 {
        self.number(queue, "messages_unacknowledged").unwrap_or(0)
    }

    pub fn consumers(&self, queue: &str) -> u64 {
        self.number(queue, "consumers").unwrap_or(0)
    }

    fn number(&self, queue: &str, item: &str) -> Option<u64> {
        let name = &self.name;
        let value = self.broker.eval(&format!(
            "(fun() -> case rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{name}\">>, queue, <<\"{queue}\">>)) of \
             {{ok, Q}} -> [{{_, N}}] = rabbit_amqqueue:info(Q, [{item}]), N; _ -> none end end)()"
        ));
        value.parse().ok()
    }
}

impl Drop for VirtualHost<'_> {
    fn drop(&mut self) {
        if self.name != "/" && !std::thread::panicking() {
            self.broker.eval(&format!("rabbit_vhost:delete(<<\"{}\">>, <<\"test\">>)", self.name));
        }
    }
}

/// Runs a test on each engine, with a server that is connected to the broker and a gateway of tenant DEFAULT.
pub async fn on_each_engine_with_gateway(test: impl AsyncFn(Server, Gateway<'_>)) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let server = host.server(engine, &[]).await;
        let gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        test(server, gateway).await;
    }
}
