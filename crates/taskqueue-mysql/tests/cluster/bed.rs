//! The nodes of a cluster, the address that leads to one of them, and the short words that keep a test readable. The tests of one
//! cluster take turns on the same nodes, each in a database of its own, and leave them whole; one that fails leaves none.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use taskqueue_conformance::{Node, Proxy, Servers};
pub(crate) use taskqueue_conformance::{assert_unavailable, wait_a_moment, wait_until, wait_until_ok};
use taskqueue_mysql::{
    Claim, ClaimRequest, MysqlConfig, MysqlQueue, NewTask, Queue, Result, TaskId, TaskType, WorkerId,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Far more than anything here takes, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// In which a cluster heals, also where a member has to try again: it gives up to join after a minute.
const HEALED_MAX: Duration = Duration::from_secs(180);
/// A member that is out of its group tries by itself at first.
const ALONE_MAX: Duration = Duration::from_secs(10);
/// How long one node is waited for where others can be asked.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a statement of these queues may take.
pub(crate) const STATEMENT: Duration = Duration::from_secs(10);

/// The nodes between two tests.
static NODES: Mutex<Option<Servers>> = Mutex::const_new(None);

/// What a cluster says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Galera,
    GroupReplication,
}

impl Kind {
    /// Asks a node how many it sees that are in order.
    fn members(self) -> &'static str {
        match self {
            Self::Galera => {
                "SELECT MAX(IF(variable_name = 'WSREP_CLUSTER_SIZE', variable_value, '')) FROM \
                 information_schema.global_status HAVING MAX(IF(variable_name = 'WSREP_LOCAL_STATE_COMMENT', \
                 variable_value, '')) = 'Synced'"
            }
            Self::GroupReplication => {
                "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.replication_group_members \
                 WHERE member_state = 'ONLINE'"
            }
        }
    }

    /// What a node sees of the cluster, for people, with the end of its log.
    async fn seen_by(self, node: &Node) -> String {
        let question = match self {
            Self::Galera => {
                "SELECT GROUP_CONCAT(variable_name, ' ', variable_value SEPARATOR ', ') FROM information_schema.global_status \
                 WHERE variable_name IN ('WSREP_CLUSTER_SIZE', 'WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE_COMMENT')"
            }
            Self::GroupReplication => {
                "SELECT CONCAT(GROUP_CONCAT(member_host, ' ', member_state, ' ', member_role SEPARATOR ', '), \
                 '; super_read_only ', @@super_read_only) \
                 FROM performance_schema.replication_group_members"
            }
        };
        let seen = timeout(ANSWER_MAX, try_ask(node, question)).await;
        format!("\n{} sees {seen:?}. The last lines of its log:\n{}", address(node), node.last_lines().await)
    }
}

/// A cluster during a test.
pub(crate) struct Cluster {
    kind: Kind,
    pub(crate) proxy: Proxy,
    database: String,
    /// None only when it is given back.
    servers: Option<Servers>,
    between: MutexGuard<'static, Option<Servers>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            *self.between = self.servers.take();
        }
    }
}

impl Cluster {
    /// The nodes, all in order, with a database for this test. The address leads to the first, or to the primary.
    pub(crate) async fn whole(kind: Kind) -> Self {
        let mut between = NODES.lock().await;
        let servers = match between.take() {
            Some(servers) => servers,
            None => Servers::cluster().await,
        };
        let database = format!("tq_{}", TaskId::generate().as_uuid().simple());
        let proxy = Proxy::before(&address(&servers.nodes()[0])).await;
        let cluster = Self { kind, proxy, database, servers: Some(servers), between };
        cluster.becomes_whole().await;
        // A group that has only just become whole may take nothing for a moment.
        let made = format!("CREATE DATABASE IF NOT EXISTS {}", cluster.database);
        cluster.heals(async || cluster.takes(&made).await).await;
        cluster.lead_to(cluster.primary().await);
        cluster
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes()[number]
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        self.servers.as_ref().expect("they are here during the test").nodes()
    }

    /// All but this one.
    pub(crate) fn others(&self, number: usize) -> impl Iterator<Item = usize> {
        (0..self.nodes().len()).filter(move |other| *other != number)
    }

    /// Waits until each node sees them all.
    pub(crate) async fn becomes_whole(&self) {
        self.heals(async || {
            for number in 0..self.nodes().len() {
                self.sees(number, self.nodes().len()).await;
            }
        })
        .await;
    }

    /// Waits until each member of a group writes.
    pub(crate) async fn all_write(&self) {
        self.heals(async || {
            for number in 0..self.nodes().len() {
                self.primary_among([number]).await;
            }
        })
        .await;
    }

    /// Repeats something until the primary takes it.
    pub(crate) async fn takes(&self, sql: &str) {
        self.wait_until(sql, async || try_say(self.node(self.primary().await), sql).await.is_ok()).await;
    }

    /// Waits for what a test begins with or leaves. A member that stays out of a group meanwhile is sent back into it, as its
    /// operator would: by itself it tries once when it was started, and once when it was expelled, and then only five minutes
    /// later.
    async fn heals(&self, is_healed: impl AsyncFn()) {
        let healing = async {
            while timeout(ALONE_MAX, is_healed()).await.is_err() {
                if self.kind == Kind::GroupReplication {
                    for number in 0..self.nodes().len() {
                        self.rejoin(number).await;
                    }
                }
            }
        };
        if timeout(HEALED_MAX, healing).await.is_err() {
            self.never("the cluster heals").await;
        }
    }

    /// Sends a member that is out of its group back into it, in the group's mode: one that was out while that changed is refused
    /// else. One that tries by itself just then is waited for by the server.
    pub(crate) async fn rejoin(&self, number: usize) {
        const STATE: &str = "SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid";
        const MODE: &str = "SELECT CONCAT('SET PERSIST group_replication_enforce_update_everywhere_checks = OFF; \
             SET PERSIST group_replication_single_primary_mode = ', @@group_replication_single_primary_mode, '; \
             SET PERSIST group_replication_enforce_update_everywhere_checks = ', \
             @@group_replication_enforce_update_everywhere_checks) \
             FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid AND member_state = 'ONLINE'";
        let node = self.node(number);
        let state = timeout(ANSWER_MAX, try_ask(node, STATE)).await;
        println!("{} is {state:?}", address(node));
        match state.as_ref().map(|state| state.as_deref()) {
            Ok(Ok("OFFLINE")) => {}
            Ok(Ok("ERROR")) => tell(node, "STOP GROUP_REPLICATION").await,
            _ => return,
        }
        for other in self.others(number) {
            if let Ok(Ok(mode)) = timeout(ANSWER_MAX, try_ask(self.node(other), MODE)).await {
                tell(node, &mode).await;
                break;
            }
        }
        tell(node, "START GROUP_REPLICATION").await;
    }

    /// Waits until a node sees so many.
    pub(crate) async fn sees(&self, number: usize, members: usize) {
        let (node, members) = (self.node(number), members.to_string());
        self.wait_until("the members are in order", async || {
            try_ask(node, self.kind.members()).await.is_ok_and(|seen| seen == members)
        })
        .await;
    }

    /// Looks until it is so.
    async fn wait_until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let looking = async {
            while !is_so().await {
                wait_a_moment().await;
            }
        };
        if timeout(LIMIT, looking).await.is_err() {
            self.never(what).await;
        }
    }

    /// Fails the test, with what each node sees of the cluster.
    async fn never(&self, what: &str) -> ! {
        for node in self.nodes() {
            println!("{}", self.kind.seen_by(node).await);
        }
        panic!("never: {what}");
    }

    /// Which node writes: on Galera the first, since all do.
    pub(crate) async fn primary(&self) -> usize {
        match self.kind {
            Kind::Galera => 0,
            Kind::GroupReplication => self.primary_among(0..self.nodes().len()).await,
        }
    }

    /// Waits until one of these members is the primary.
    pub(crate) async fn primary_among(&self, members: impl IntoIterator<Item = usize>) -> usize {
        const IS_PRIMARY: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.replication_group_members \
             WHERE member_id = @@server_uuid AND member_role = 'PRIMARY' AND member_state = 'ONLINE' \
             AND NOT @@super_read_only";
        let (members, mut found): (Vec<usize>, _) = (members.into_iter().collect(), None);
        self.wait_until("there is a primary", async || {
            for member in &members {
                let is_primary = try_ask(self.node(*member), IS_PRIMARY).await;
                found = is_primary.is_ok_and(|is_primary| is_primary == "1").then_some(*member).or(found);
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The address leads to this node from now on; connections that are there stay where they are.
    pub(crate) fn lead_to(&self, number: usize) {
        self.proxy.lead_to(&address(self.node(number)));
    }

    /// A queue that goes by the address, with its tables.
    pub(crate) async fn queue(&self) -> MysqlQueue {
        self.open(&self.proxy.address().to_string()).await
    }

    /// A queue on this node, with its tables.
    pub(crate) async fn queue_on(&self, number: usize) -> MysqlQueue {
        self.open(&address(self.node(number))).await
    }

    async fn open(&self, address: &str) -> MysqlQueue {
        let queue = self.connect(address).await.unwrap();
        queue.migrate().await.unwrap();
        queue
    }

    /// A queue on this node, as it is.
    pub(crate) async fn connect_to(&self, number: usize) -> Result<MysqlQueue> {
        self.connect(&address(self.node(number))).await
    }

    /// A queue on this node with a table of this name, as it is.
    pub(crate) async fn of_table(&self, number: usize, table: &str) -> MysqlQueue {
        let mut config = self.config(&address(self.node(number)));
        config.options.table = table.parse().unwrap();
        MysqlQueue::with_config(config).await.unwrap()
    }

    async fn connect(&self, address: &str) -> Result<MysqlQueue> {
        MysqlQueue::with_config(self.config(address)).await
    }

    fn config(&self, address: &str) -> MysqlConfig {
        let url = self.node(0).url();
        let user = url.rsplit_once('@').unwrap().0;
        let mut config = MysqlConfig::url(&format!("{user}@{address}/{}", self.database)).unwrap();
        config.statement_timeout = STATEMENT;
        config
    }

    /// Asks a node about the tables of this test, past the queue.
    pub(crate) async fn ask(&self, number: usize, sql: &str) -> sqlx::Result<String> {
        let options = options(self.node(number)).database(&self.database);
        let mut connection = options.connect().await?;
        let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?;
        connection.close().await?;
        row.try_get(0)
    }

    /// Asserts that the statistics of a queue are what a count of the rows on this node gives.
    pub(crate) async fn assert_stats_match_the_rows(&self, queue: &MysqlQueue, number: usize) {
        let stats = queue.stats().await.unwrap();
        let said = [
            ("IN (0, 1)", stats.pending),
            ("= 2", stats.running),
            ("= 3", stats.completed),
            ("= 4", stats.failed),
            ("= 5", stats.dead_letter),
            ("= 6", stats.cancelled),
        ];
        for (status, said) in said {
            let count = format!("SELECT CAST(COUNT(*) AS CHAR) FROM tasks WHERE status {status}");
            assert_eq!(self.ask(number, &count).await.unwrap(), said.to_string(), "tasks of status {status}");
        }
    }
}

fn options(node: &Node) -> MySqlConnectOptions {
    MySqlConnectOptions::from_str(&node.url()).expect("it is a URL")
}

fn address(node: &Node) -> String {
    let options = options(node);
    format!("{}:{}", options.get_host(), options.get_port())
}

/// Says something to a node, past the proxy.
pub(crate) async fn say(node: &Node, sql: &str) {
    try_say(node, sql).await.unwrap();
}

async fn try_say(node: &Node, sql: &str) -> sqlx::Result<()> {
    let mut connection = options(node).connect().await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

/// What it answered is told when the test fails.
async fn tell(node: &Node, sql: &str) {
    println!("{}: {sql}: {:?}", address(node), try_say(node, sql).await);
}

async fn try_ask(node: &Node, sql: &'static str) -> sqlx::Result<String> {
    let mut connection = options(node).connect().await?;
    let row = sqlx::raw_sql(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    row.try_get(0)
}

pub(crate) fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

pub(crate) fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

/// A claim of so many, leased for this long.
pub(crate) fn request(limit: usize, lease: Duration) -> ClaimRequest {
    let mut request =
        ClaimRequest::new(WorkerId::new("ada").unwrap(), [TaskType::new("mail").unwrap()], limit);
    request.visibility_timeout = Some(lease);
    request
}

pub(crate) async fn claim_one(queue: &MysqlQueue, lease: Duration) -> Claim {
    wait_until_ok(async || queue.dequeue_many(&request(1, lease)).await).await.pop().expect("a task is ready")
}
