//! Servers that replicate: how many there are, what each is told of the others, and how it is seen that they are whole.
//! A node that is killed and started again finds its way back by itself, but for a primary of PostgreSQL.

use anyhow::{Context, Result};
use testcontainers::ImageExt;
use tokio::time::{sleep, timeout};
use tokio::try_join;

use crate::container::{Asked, POLL, Request, START_MAX, Server};
use crate::recipe::PASSWORD;

/// A kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// A primary and a replica that it waits for at each commit.
    PostgresReplica,
    /// Three nodes of MariaDB, each of which writes.
    Galera,
    /// Three members of MySQL, one of which writes.
    GroupReplication,
}

/// The nodes of Galera and of Group Replication. A majority of them goes on.
const NODES: usize = 3;
/// Where MariaDB reads settings that are not on its command line.
const SETTINGS: &str = "/etc/mysql/conf.d/cluster.cnf";
/// The last settings of a node of Galera: with whom it is. With nobody it begins a cluster.
const PEERS: &str = "[mariadbd]\nwsrep_cluster_address=gcomm://";
/// On each member. What it did to set itself up is no part of the group's history.
const JOIN: &str = "SET SQL_LOG_BIN = 0; \
    CREATE USER replication IDENTIFIED BY '{password}'; \
    GRANT REPLICATION SLAVE, BACKUP_ADMIN, CONNECTION_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO replication; \
    RESET BINARY LOGS AND GTIDS; \
    CHANGE REPLICATION SOURCE TO SOURCE_USER = 'replication', SOURCE_PASSWORD = '{password}' \
    FOR CHANNEL 'group_replication_recovery'; \
    SET PERSIST group_replication_start_on_boot = ON; \
    SET GLOBAL group_replication_bootstrap_group = {is_first}; \
    START GROUP_REPLICATION; \
    SET GLOBAL group_replication_bootstrap_group = OFF";
/// The replica's own start: at first it copies the primary, whose host is the first argument; the others are the server's. As in
/// the images, the server is not root's.
const REPLICA: &str = r#"
data=${PGDATA:-/var/lib/postgresql/data}
mkdir -p "$data" /var/run/postgresql
chown postgres:postgres "$data" /var/run/postgresql
chmod 700 "$data"
primary=$1
shift 2
exec setpriv --reuid=postgres --regid=postgres --init-groups sh -euc '
  PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
  primary=$1 data=$2
  shift 2
  [ -s "$data/PG_VERSION" ] || pg_basebackup -h "$primary" -U postgres -D "$data" -R -X stream -c fast
  exec postgres -D "$data" "-clisten_addresses=*" "$@"' replica "$primary" "$data" "$@"
"#;
/// Lets the replica in.
const ADMIT: &str =
    r#"echo "host replication all all scram-sha-256" >> "${PGDATA:-/var/lib/postgresql/data}/pg_hba.conf""#;

impl Cluster {
    pub(crate) fn of_backend(backend: &str) -> Option<Self> {
        match backend {
            "postgres-replica" => Some(Self::PostgresReplica),
            "galera" => Some(Self::Galera),
            "group-replication" => Some(Self::GroupReplication),
            _ => None,
        }
    }

    /// Starts the nodes, and waits until they are whole. The first is the primary, where there is one.
    pub(crate) async fn start(self, asked: &Asked<'_>) -> Result<Vec<Server>> {
        let network = asked.network().await?;
        match self {
            Self::PostgresReplica => postgres_replica(asked, &network).await,
            Self::Galera => galera(asked, &network).await,
            Self::GroupReplication => group_replication(asked, &network).await,
        }
    }
}

async fn postgres_replica(asked: &Asked<'_>, network: &str) -> Result<Vec<Server>> {
    let client = ["psql", "-qAtU", "postgres", "-c"];
    let [first, second] = [0, 1].map(|node| host(network, node));
    let primary = asked.server(named(asked.request(asked.image()), network, &first)).await?;
    primary.run(&["sh", "-c", ADMIT]).await.context("let the replica in")?;
    say(&primary, &client, "SELECT pg_reload_conf()").await?;
    let script = ["-euc", REPLICA, "replica", &first].into_iter().chain(asked.recipe.command.iter().copied());
    let replica = asked.request(asked.image().with_entrypoint("sh"));
    let replica = asked.server(named(replica.with_cmd(script), network, &second)).await?;
    // Only now: the primary would have waited for it. The replica has no such setting, and commits alone once it is promoted.
    say(&primary, &client, "ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
    say(&primary, &client, "SELECT pg_reload_conf()").await?;
    wait_until(&primary, &client, "SELECT sync_state FROM pg_stat_replication", "sync").await?;
    Ok(vec![primary, replica])
}

async fn galera(asked: &Asked<'_>, network: &str) -> Result<Vec<Server>> {
    let client = ["mariadb", "-uroot", &format!("-p{PASSWORD}"), "-Ne"];
    let peers = hosts(network).join(",");
    let request = |node: usize| {
        let host = host(network, node);
        let name = format!("--wsrep-node-name={host}");
        let command = asked.recipe.command.iter().copied().chain([name.as_str()]);
        let with = if node == 0 { "" } else { &peers };
        let request = asked.request(asked.image()).with_cmd(command);
        named(request, network, &host).with_copy_to(SETTINGS, format!("{PEERS}{with}\n").into_bytes())
    };
    let is_whole = |nodes: usize| {
        format!(
            "SELECT COUNT(*) FROM information_schema.global_status \
             WHERE variable_name = 'WSREP_CLUSTER_SIZE' AND variable_value = {nodes} \
             OR variable_name = 'WSREP_LOCAL_STATE_COMMENT' AND variable_value = 'Synced'"
        )
    };
    let first = asked.server(request(0)).await?;
    wait_until(&first, &client, &is_whole(1), "2").await?;
    // Started again, it is to look for the others.
    let settings = format!("printf '%s\n' '{PEERS}{peers}' > {SETTINGS}");
    first.run(&["sh", "-c", &settings]).await.context("tell the first node of the others")?;
    let mut nodes = vec![first];
    let (second, third) = try_join!(asked.server(request(1)), asked.server(request(2)))?;
    nodes.extend([second, third]);
    for node in &nodes {
        wait_until(node, &client, &is_whole(NODES), "2").await?;
    }
    Ok(nodes)
}

async fn group_replication(asked: &Asked<'_>, network: &str) -> Result<Vec<Server>> {
    let client = ["mysql", "-h127.0.0.1", "-uroot", &format!("-p{PASSWORD}"), "-Ne"];
    let seeds: Vec<String> = hosts(network).into_iter().map(|host| format!("{host}:33061")).collect();
    let seeds = format!("--loose-group-replication-group-seeds={}", seeds.join(","));
    let request = |node: usize| {
        let host = host(network, node);
        let told = [
            format!("--server-id={}", node + 1),
            format!("--report-host={host}"),
            format!("--loose-group-replication-local-address={host}:33061"),
            seeds.clone(),
        ];
        let command = asked.recipe.command.iter().copied().chain(told.iter().map(String::as_str));
        named(asked.request(asked.image()).with_cmd(command), network, &host)
    };
    let [first, second, third] = [0, 1, 2].map(|node| asked.server(request(node)));
    let nodes: [Server; NODES] = try_join!(first, second, third)?.into();
    for (node, server) in nodes.iter().enumerate() {
        let is_first = if node == 0 { "ON" } else { "OFF" };
        let join = JOIN.replace("{password}", PASSWORD).replace("{is_first}", is_first);
        let joined = say(server, &client, &join).await.with_context(|| format!("have member {node} join"));
        server.with_last_lines(joined).await?;
    }
    let online =
        "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'";
    for node in &nodes {
        wait_until(node, &client, online, &NODES.to_string()).await?;
    }
    Ok(nodes.into())
}

fn host(network: &str, node: usize) -> String {
    format!("{network}-{node}")
}

fn hosts(network: &str) -> Vec<String> {
    (0..NODES).map(|node| host(network, node)).collect()
}

/// On the network, and found there by this name.
fn named(request: Request, network: &str, host: &str) -> Request {
    request.with_network(network).with_hostname(host).with_container_name(host)
}

/// Has a server's own client say something to it.
async fn say(server: &Server, client: &[&str], text: &str) -> Result<String> {
    server.run(&[client, &[text]].concat()).await
}

/// Asks until this is the answer.
async fn wait_until(server: &Server, client: &[&str], question: &str, answer: &str) -> Result<()> {
    let asking = async {
        while say(server, client, question).await.ok().as_deref() != Some(answer) {
            sleep(POLL).await;
        }
    };
    let answered = timeout(START_MAX, asking).await;
    server.with_last_lines(answered.with_context(|| format!("{question} never answered {answer}"))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn each_cluster_has_a_recipe_for_its_nodes() {
        for backend in ["postgres-replica", "galera", "group-replication"] {
            assert!(Cluster::of_backend(backend).is_some() && Recipe::of_backend(backend).is_some());
        }
        assert_eq!(Cluster::of_backend("postgres"), None);
    }
}
