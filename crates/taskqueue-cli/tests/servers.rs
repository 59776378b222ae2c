//! The program on real servers: every command, on a database of the test's own. The servers' URLs are in
//! `TASKQUEUE_POSTGRES_URL`, `TASKQUEUE_MYSQL_URL` and `TASKQUEUE_MARIADB_URL`; each one's tests begin with its name.
//! It knows nothing of the program's inside.

#[path = "support/event.rs"]
mod event;
mod support;

use support::server::{MARIADB, MYSQL, POSTGRES, Server};
use support::{Background, Program};

macro_rules! on_every_server {
    ($($test:ident,)*) => {
        mod postgres {
            $(#[test] fn $test() { super::$test(super::POSTGRES); })*
            #[test] fn queues_in_two_schemas_are_apart() { super::queues_in_two_schemas_are_apart(super::POSTGRES); }
        }
        mod mysql { $(#[test] fn $test() { super::$test(super::MYSQL); })* }
        mod mariadb { $(#[test] fn $test() { super::$test(super::MARIADB); })* }
    };
}

on_every_server! {
    tasks_are_enqueued_listed_shown_and_counted,
    a_worker_runs_what_it_handles_and_drains,
    a_worker_that_is_told_to_stop_finishes_what_it_runs,
    tasks_are_cancelled_paused_resumed_redriven_and_cleaned_up,
    tables_that_are_not_there_are_made_by_migrate_and_by_nothing_else,
    the_printed_sql_leaves_migrate_nothing_to_do,
    two_tables_in_one_database_are_two_queues,
    what_cannot_be_opened_is_told_apart_and_no_secret_is_shown,
    documents_beside_the_queue_say_who_is_told_of_an_event,
    the_demo_loses_nothing_and_keeps_to_tables_of_its_own,
}

fn tasks_are_enqueued_listed_shown_and_counted(server: Server) {
    let database = server.database();
    let program = Program::on(&database);
    let (text, newest) = (program.ok(&["migrate"]), taskqueue_migrations::Engine::Postgres.newest());
    assert!(
        text.starts_with("made the tables in ")
            && text.contains(&format!(": version {newest} ({} ", server.engine)),
        "{text}"
    );
    assert!(program.ok(&["migrate"]).contains(&format!(" are up to date already: version {newest} (")));
    let id = program.enqueue("mail", r#"{"to":  "größe"}"#);
    assert_eq!(program.ok(&["get", &id, "--payload"]), "{\"to\":  \"größe\"}");
    program.run(&["enqueue", "--type", "mail", "--unique-key", "k", "1"]);
    program.run(&["enqueue", "--type", "mail", "--unique-key", "k", "1"]).refused(4, "unique key");
    let held = program.json(&["get", "--type", "mail", "--unique-key", "k", "--json"]);
    assert_eq!(held["unique_key"], "k");
    program.run(&["get", "--type", "order", "--unique-key", "k"]).refused(3, "holds the unique key");
    let lines: String = (0..25).map(|n| format!("{{\"type\":\"order\",\"payload\":{n}}}\n")).collect();
    assert_eq!(program.run_with_input(&["enqueue", "--json-lines"], &lines).stdout, "enqueued 25 tasks\n");
    let page = program.json(&["list", "--type", "order", "--limit", "20", "--json"]);
    let next = page["next"].as_str().expect("there are more");
    let rest = program.json(&["list", "--type", "order", "--after", next, "--json"]);
    assert_eq!(rest["tasks"].as_array().map(Vec::len), Some(5));
    let stats = program.json(&["stats", "--json"]);
    assert_eq!((stats["pending"].as_u64(), stats["by_type"]["order"].as_u64()), (Some(27), Some(25)));
    assert!(program.ok(&["stats"]).contains("pending      27"));
    program.run(&["get", "0198c5d0-0000-7000-8000-000000000009"]).refused(3, "task not found");
}

fn a_worker_runs_what_it_handles_and_drains(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    let id = program.enqueue("mail", "1");
    let other = program.enqueue("other", "1");
    assert_eq!(program.ok(&["work", "--drain", "--exec", "mail=cat"]), "worked: 1 completed\n");
    assert_eq!((program.status(&id), program.status(&other)), ("completed".into(), "pending".into()));
    assert_eq!(program.ok(&["reclaim"]), "reclaimed 0 tasks: 0 ready again, 0 dead letters\n");
}

fn a_worker_that_is_told_to_stop_finishes_what_it_runs(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    // The command says that it has begun, then waits for the file that the test makes after the signal.
    let script =
        program.file("wait.sh", "touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n");
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker = Background::start(program.command(&["work", "--exec", &exec]));
    support::wait_until(|| program.folder().join("begun").exists());
    assert_eq!(program.status(&id), "running");
    worker.signal("TERM");
    worker.wait_for("stopping");
    program.file("go", "");
    assert_eq!(worker.wait(), (0, "worked: 1 completed\n".to_owned()));
    assert_eq!(program.status(&id), "completed");
}

fn tasks_are_cancelled_paused_resumed_redriven_and_cleaned_up(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    let id = program.enqueue("mail", "1");
    assert_eq!(program.ok(&["cancel", &id]), format!("cancelled {id} (was pending)\n"));
    program.run(&["cancel", &id]).refused(4, "is finished already: cancelled");
    let dead = program.ok(&["enqueue", "--type", "mail", "--max-retries", "1", "1"]);
    let dead = dead.trim();
    program.ok(&["pause", "mail"]);
    assert!(program.ok(&["stats"]).contains("mail  1  paused"));
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    assert_eq!(program.status(dead), "pending");
    program.ok(&["resume", "mail"]);
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    assert!(program.ok(&["list", "--status", "dead_letter"]).contains(dead));
    assert_eq!(program.ok(&["redrive", "--all"]), "redriven: 1 task is pending again\n");
    program.run(&["redrive", dead]).refused(4, "is not a dead letter: pending");
    program.ok(&["work", "--drain", "--exec", "mail=cat"]);
    assert!(program.ok(&["cleanup"]).starts_with("removed 0 tasks"));
    assert!(program.ok(&["cleanup", "--older-than", "0s"]).starts_with("removed 2 tasks "));
    program.run(&["get", dead]).refused(3, "task not found");
}

fn tables_that_are_not_there_are_made_by_migrate_and_by_nothing_else(server: Server) {
    let database = server.database();
    let program = Program::on(&database);
    for args in [&["stats"][..], &["enqueue", "--type", "mail", "1"], &["work", "--exec", "mail=cat"]] {
        program.run(args).refused(1, "run `taskqueue migrate`");
    }
    assert_eq!(database.tables(), 0);
    for _ in 0..2 {
        program.ok(&["migrate"]);
    }
    program.enqueue("mail", "1");
}

fn the_printed_sql_leaves_migrate_nothing_to_do(server: Server) {
    let database = server.database();
    let program = Program::on(&database);
    let script = program.ok(&["migrate", "--print", "--table", "outbox", "--shards", "3"]);
    assert_eq!(database.tables(), 0, "printing made tables");
    database.apply(&script);
    let tables = database.tables();
    assert!(program.ok(&["migrate", "--table", "outbox"]).contains("are up to date"));
    assert_eq!(database.tables(), tables);
    let id = program.ok(&["enqueue", "--table", "outbox", "--type", "mail", "1"]);
    assert!(
        program.ok(&["work", "--table", "outbox", "--drain", "--exec", "mail=cat"]).contains("1 completed")
    );
    assert!(program.ok(&["list", "--table", "outbox", "--status", "completed"]).contains(id.trim()));
    program.run(&["migrate", "--table", "outbox", "--shards", "2"]).refused(2, "made with 3 shards");
}

fn two_tables_in_one_database_are_two_queues(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    program.ok(&["migrate", "--table", "outbox"]);
    program.enqueue("mail", "1");
    assert_eq!(program.json(&["stats", "--json", "--table", "outbox"])["pending"].as_u64(), Some(0));
    assert_eq!(program.json(&["stats", "--json"])["pending"].as_u64(), Some(1));
}

fn queues_in_two_schemas_are_apart(server: Server) {
    let database = server.database();
    let program = Program::on(&database);
    for schema in ["work", "select"] {
        database.apply(&program.ok(&["migrate", "--print", "--schema", schema]));
        program.ok(&["migrate", "--schema", schema]);
    }
    program.run(&["stats"]).refused(1, "run `taskqueue migrate`");
    program.ok(&["enqueue", "--schema", "work", "--type", "mail", "1"]);
    let work = |schema| program.ok(&["work", "--schema", schema, "--drain", "--exec", "mail=cat"]);
    assert_eq!(work("select"), "worked: 0 completed\n");
    assert_eq!(work("work"), "worked: 1 completed\n");
}

fn what_cannot_be_opened_is_told_apart_and_no_secret_is_shown(server: Server) {
    let database = server.database();
    let cases = [
        (database.with_name("no_such_database"), 3, "no_such_database"),
        (database.with_password("s3cr3t-wrong"), 1, ""),
        (database.with_port(1), 75, "answers at the host and port"),
    ];
    for (url, code, text) in cases {
        let ran = Program::on_url(url).run(&["stats"]);
        ran.refused(code, text);
        ran.refused(code, &format!("{} database of TASKQUEUE_DATABASE_URL", server.shown));
        assert!(!ran.stderr.contains("s3cr3t") && !ran.stderr.contains("://"), "{ran:?}");
    }
}

fn documents_beside_the_queue_say_who_is_told_of_an_event(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    program.file(
        "handlers.toml",
        "[documents]\ndatabase = { env = \"TASKQUEUE_DATABASE_URL\" }\n\
         [event.destinations.log.file]\npath = \"events.jsonl\"\n",
    );
    let work = || program.ok(&["work", "--drain", "--handlers", "event", "--config", "handlers.toml"]);
    program.enqueue("event", event::EVENT);
    assert_eq!(work(), "worked: 1 completed\n", "nobody is to be told yet, and the table is made");
    let rule = r#"{"Id":"all","TopicArn":"log","Events":["s3:ObjectCreated:*"]}"#;
    database.apply(&format!(
        "INSERT INTO task_documents (kind, name, document) \
         VALUES ('notification', 'photos', '{{\"TopicConfigurations\":[{rule}]}}')"
    ));
    program.enqueue("event", event::EVENT);
    assert_eq!(work(), "worked: 1 completed\n");
    let lines = std::fs::read(program.folder().join("events.jsonl")).expect("the sink has made it");
    event::assert_is_record(&lines, "all");
}

fn the_demo_loses_nothing_and_keeps_to_tables_of_its_own(server: Server) {
    let database = server.database();
    let program = Program::migrated_on(&database);
    program.enqueue("event", "1");
    let files = program.folder().join("files");
    std::fs::create_dir(&files).expect("the folder is writable");
    for index in 0..200 {
        std::fs::write(files.join(format!("{index}.txt")), index.to_string()).expect("writable");
    }
    let input = files.to_str().expect("UTF-8");
    let text = program.ok(&["--database", &database.url(), "demo", "--input", input]);
    assert!(text.contains("Nothing was lost") && text.contains("--table taskqueue_demo"), "{text}");
    assert!(!text.contains(&database.url()), "{text}");
    let stats = program.json(&["stats", "--json", "--table", "taskqueue_demo"]);
    assert_eq!(stats["completed"].as_u64(), Some(200));
    assert_eq!(program.json(&["stats", "--json"])["pending"].as_u64(), Some(1));
}
