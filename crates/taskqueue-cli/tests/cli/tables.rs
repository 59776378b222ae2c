//! Databases and their tables: `migrate`, its printed SQL, and what is refused.

use sqlx::ConnectOptions;
use taskqueue_migrations::Engine;

use crate::sql;
use crate::support::Program;

#[test]
fn migrate_says_what_it_did_to_which_database_and_can_be_repeated() {
    let (program, newest) = (Program::new(), Engine::Sqlite.newest());
    for done in ["made the tables in other.db", "the tables in other.db are up to date already"] {
        let text = program.ok(&["migrate", "--database", "sqlite:other.db"]);
        assert!(text.starts_with(&format!("{done}: version {newest} (sqlite 3.")), "{text}");
    }
}

#[test]
fn an_upgrade_is_told_with_the_version_of_before() {
    let (program, newest) = (Program::new(), Engine::Sqlite.newest());
    program.ok(&["migrate"]);
    // What later ones bring is on SQLite nothing but the record.
    sql(&program, "DELETE FROM tasks_migrations WHERE version > 3", "SELECT 0");
    let text = program.ok(&["migrate"]);
    let upgraded = format!("upgraded the tables in taskqueue.db from version 3 to {newest} (");
    assert!(text.starts_with(&upgraded), "{text}");
}

#[test]
fn a_file_without_tables_is_left_as_it_is_until_migrate() {
    let program = Program::new();
    program.file_of_bytes("mine.db", &empty_sqlite_file());
    for args in [&["stats"][..], &["enqueue", "--type", "mail", "1"], &["work", "--exec", "mail=cat"]] {
        let args = [&["--database", "sqlite:mine.db"], args].concat();
        let ran = program.run(&args);
        ran.refused(1, "migrate it first");
        assert!(!ran.stderr.contains(": paused: "), "nobody asked for what is paused: {ran:?}");
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_refused_without_its_password() {
    let program = Program::new();
    for url in
        ["oracle://user:secret@host/db", "mysql://user:secret@host", "postgres://user:secret@host:x/db"]
    {
        for ran in [program.run(&["--database", url, "stats"]), Program::on_url(url.into()).run(&["stats"])] {
            ran.refused(2, "");
            assert!(!ran.stderr.contains("secret") && !ran.stderr.contains("user"), "{ran:?}");
        }
    }
    program.run(&["--database", "memory:", "stats"]).refused(2, "ends with the command");
}

#[test]
fn the_printed_sql_leaves_migrate_nothing_to_do() {
    let program = Program::new();
    let script = program.ok(&["migrate", "--print", "--engine", "sqlite", "--table", "outbox"]);
    assert!(!program.folder().join("taskqueue.db").exists(), "printing made a database");
    let file = program.folder().join("taskqueue.db");
    let applied = applied_by_hand(&file, &script);
    assert!(program.ok(&["migrate", "--table", "outbox"]).contains("are up to date"));
    assert_eq!(applied_by_hand(&file, ""), applied, "migrate changed what the script made");
    let id = program.ok(&["enqueue", "--table", "outbox", "--type", "mail", "1"]);
    assert!(
        program.ok(&["work", "--table", "outbox", "--drain", "--exec", "mail=cat"]).contains("1 completed")
    );
    assert!(program.ok(&["list", "--table", "outbox", "--status", "completed"]).contains(id.trim()));
}

#[test]
fn the_sql_of_every_engine_is_printed_without_a_database() {
    let program = Program::on_url("postgres://user:secret@127.0.0.1:1/db".to_owned());
    let postgres = program.ok(&["migrate", "--print"]);
    assert!(postgres.contains(" timestamptz ") && postgres.contains("fillfactor"), "{postgres}");
    let cockroach = program.ok(&["migrate", "--print", "--engine", "cockroach", "--schema", "work"]);
    assert!(
        cockroach.contains("CREATE TABLE IF NOT EXISTS \"work\".tasks (")
            && !cockroach.contains("fillfactor")
    );
    assert!(
        cockroach.contains("INSERT INTO \"work\".tasks_migrations (version, name, applied_at) VALUES (1, ")
    );
    assert!(program.ok(&["migrate", "--print", "--engine", "mariadb"]).contains("ENGINE = InnoDB"));
    assert!(
        program
            .run(&["migrate", "--print", "--engine", "oracle"])
            .stderr
            .contains("not sqlite, postgres, cockroach or mysql")
    );
    program.run(&["migrate", "--print", "--after", "99"]).refused(2, "versions are 0 to ");
    let spread = program.ok(&["migrate", "--print", "--engine", "cockroach", "--shards", "16"]);
    assert!(spread.contains("INSERT INTO tasks_shards (one, shards) VALUES (1, 16);"), "{spread}");
    for args in [&["--engine", "sqlite"][..], &["--after", "1"]] {
        let args = [&["migrate", "--print", "--shards", "16"], args].concat();
        program.run(&args).refused(2, "new tables of a server");
    }
}

#[test]
fn a_file_has_no_shards() {
    let program = Program::new();
    program.run(&["migrate", "--shards", "2"]).refused(2, "--shards is for servers");
    let ran = program.run(&["migrate", "--shards", "1025"]);
    assert!(ran.code == 2 && ran.stderr.contains("1025 is not in 1..=1024"), "{ran:?}");
}

/// A SQLite file that some application made: it is there, and has none of our tables. The header of its one
/// page says so.
fn empty_sqlite_file() -> Vec<u8> {
    let mut page = vec![0_u8; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..28].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32, 0, 0, 0, 1]);
    page[28..32].copy_from_slice(&1_u32.to_be_bytes());
    page[44..48].copy_from_slice(&4_u32.to_be_bytes());
    page[56..60].copy_from_slice(&1_u32.to_be_bytes());
    page[92..96].copy_from_slice(&1_u32.to_be_bytes());
    page[100] = 0x0d;
    page[105..107].copy_from_slice(&4096_u16.to_be_bytes());
    page
}

/// Applies a script to a SQLite file as another tool would, and answers what the schema and the records are then.
fn applied_by_hand(file: &std::path::Path, script: &str) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let schema =
        "SELECT name FROM sqlite_master UNION ALL SELECT version || applied_at FROM outbox_migrations";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = options.connect().await.expect("the file opens");
        let script = sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned()));
        script.execute(&mut connection).await.expect("the script is right");
        sqlx::query_scalar(schema).fetch_all(&mut connection).await.expect("the tables are there")
    })
}
