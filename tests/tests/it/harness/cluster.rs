//! Several nodes that are one server: processes on one PostgreSQL database and one artifact folder, behind a load balancer.
//! Each node's way to the database, and to the broker, is a link that can break.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use tempfile::TempDir;

use super::{Balancer, Client, Database, Link, Server, Store, VirtualHost, free_port, server::Oddity};

/// What a cluster is to be like.
pub struct Plan {
    nodes: usize,
    data: Option<Arc<TempDir>>,
    database: Option<Arc<Database>>,
    settings: Vec<String>,
    /// The load balancer's.
    port: u16,
    /// The broker's port, where there is one.
    broker: Option<u16>,
    clocks: Vec<(usize, String)>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub balancer: Balancer,
    pub database: Arc<Database>,
}

/// A process of the cluster and its links.
pub struct Node {
    server: Server,
    pub database: Link,
    pub broker: Option<Link>,
}

impl Cluster {
    pub fn of(nodes: usize) -> Plan {
        let (settings, clocks) = Default::default();
        Plan { nodes, data: None, database: None, settings, port: free_port(), broker: None, clocks }
    }

    /// Through the load balancer, a connection per request.
    pub fn client(&self) -> &Client {
        &self.balancer.client
    }

    /// The database, past all links. One that outlives a crash of the database is of no use any more.
    pub async fn store(&self) -> Store {
        Store::on(self.database.clone()).await
    }
}

impl Plan {
    /// Of all nodes, as arguments of `--set`.
    pub fn with(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|setting| setting.to_string()));
        self
    }

    /// On what the test has filled.
    pub fn on(mut self, data: Arc<TempDir>, database: Arc<Database>) -> Self {
        (self.data, self.database) = (Some(data), Some(database));
        self
    }

    /// On a database server that may be crashed: [`Database::server`].
    pub fn on_its_own_postgres(mut self) -> Self {
        self.database = Some(Arc::new(Database::create_apart()));
        self
    }

    pub fn on_broker(mut self, host: &VirtualHost<'_>) -> Self {
        let settings = host.settings();
        // Its port is the link's, see `start`.
        self.settings.extend(settings.into_iter().filter(|setting| !setting.contains(".port=")));
        self.broker = Some(host.broker.port);
        self
    }

    /// Links lead to the load balancer, also where no request says so.
    pub fn at_one_address(self) -> Self {
        let url = format!("kettle.public-url=http://127.0.0.1:{}", self.port);
        self.with(&[&url])
    }

    /// One node's wall clock is off by this much: `+1h`, `-1h`.
    pub fn with_clock(mut self, node: usize, off: &str) -> Self {
        self.clocks.push((node, off.to_owned()));
        self
    }

    /// Ready, all nodes of it.
    pub fn start(self) -> Cluster {
        let data = self
            .data
            .clone()
            .unwrap_or_else(|| Arc::new(tempfile::Builder::new().prefix("kettle-data-").tempdir().unwrap()));
        let database = self.database.clone().unwrap_or_else(|| Arc::new(Database::create()));
        let nodes: Vec<Node> = (0..self.nodes).map(|number| self.node(number, &data, &database)).collect();
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let balancer = Balancer::before(&ports, self.port);
        balancer.until_in_use(nodes.len());
        Cluster { nodes, balancer, database }
    }

    fn node(&self, number: usize, data: &Arc<TempDir>, database: &Arc<Database>) -> Node {
        let own = |(node, value): &(usize, String)| (*node == number).then(|| value.clone());
        let way = Link::to(database.address());
        let broker = self.broker.map(|port| Link::to(format!("127.0.0.1:{port}")));
        let oddity =
            Oddity { way_to_database: Some(database.url_by(way.port)), clock: self.clocks.iter().find_map(own) };
        let mut settings = self.settings.clone();
        settings.extend(broker.as_ref().map(|link| format!("spring.rabbitmq.port={}", link.port)));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = Server::start_odd(data.clone(), Some(database.clone()), &settings, oddity);
        Node { server, database: way, broker }
    }
}

impl Deref for Node {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
