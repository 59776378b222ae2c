//! The program against an S3 server, whose URL is in `TASKQUEUE_S3_URL`: every object of one bucket is brought into
//! another by discovery and ingest, by three worker processes of which two are killed, and the buckets are compared
//! object by object, version by version. It knows nothing of the program's inside.
//!
//! `TASKQUEUE_S3_OBJECTS` says how many objects are moved: 600 unless it is set, 10,000 for the run that counts.

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::process::Command;

use support::server::POSTGRES;
use support::{Background, Program};
use world::World;

/// How many objects are moved unless the environment says otherwise.
const OBJECTS_DEFAULT: usize = 600;

fn objects() -> usize {
    std::env::var("TASKQUEUE_S3_OBJECTS").map_or(OBJECTS_DEFAULT, |text| text.parse().expect("a number"))
}

#[test]
fn two_kills_neither_lose_nor_double_an_object_on_sqlite() {
    move_with_two_kills(&Program::new(), objects());
}

#[test]
fn two_kills_neither_lose_nor_double_an_object_on_postgres() {
    let database = POSTGRES.database();
    move_with_two_kills(&Program::migrated_on(&database), objects());
}

#[test]
fn the_demo_moves_a_bucket_across_a_kill() {
    let program = Program::new();
    let text = program.ok(&["demo", "s3", "--objects", "300"]);
    assert!(text.contains("Nothing was lost and nothing was doubled"), "{text}");
    assert!(text.contains("Killed worker 1 (SIGKILL"), "{text}");
}

fn move_with_two_kills(program: &Program, objects: usize) {
    let world = World::create();
    let versions = world.fill(objects);
    let config = program.file("handlers.toml", &world.handlers_file());
    let payload = format!(
        r#"{{"bucket":"{}","include_versions":true,"batch_size":{},"started_at":{}}}"#,
        world.local,
        (objects / 20).max(1),
        1_767_225_600_000_000_000_i64
    );
    program.ok(&["enqueue", "--type", "federation_discovery", "--max-retries", "20", &payload]);
    let start = || {
        let mut command: Command = program.command(&[
            "work",
            "--handlers",
            "federation_discovery,federation_ingest",
            "--config",
            config.to_str().expect("UTF-8"),
            "--concurrency",
            "12",
            "--visibility-timeout",
            "10s",
            "--reclaim-interval",
            "500ms",
        ]);
        command.envs(world.variables());
        Background::start(command)
    };
    let mut workers = vec![start(), start(), start()];
    for part in [3, 6] {
        support::wait_while_it_moves(|| completed(program), |completed| completed * 10 >= versions * part);
        let mut killed = workers.remove(0);
        killed.child.kill().expect("it can be killed");
        killed.child.wait().expect("it is gone");
        workers.push(start());
    }
    support::wait_while_it_moves(|| completed(program), |_| unfinished(program) == 0);
    for worker in &workers {
        worker.signal("TERM");
    }
    for worker in workers {
        assert_eq!(worker.wait().0, 0, "a worker that is told to stop ends well");
    }
    let stats = program.json(&["stats", "--json"]);
    assert_eq!(stats["dead_letter"].as_u64(), Some(0), "{stats}");
    world.assert_the_same(versions);
}

fn completed(program: &Program) -> u64 {
    program.json(&["stats", "--json"])["completed"].as_u64().expect("a number")
}

fn unfinished(program: &Program) -> u64 {
    let stats = program.json(&["stats", "--json"]);
    let number = |name: &str| stats[name].as_u64().expect("a number");
    number("pending") + number("running") + number("failed")
}
