//! One bucket is moved into another by three worker processes, of which two are killed; then the buckets are compared. It
//! does not know on which database the queue is.

use std::process::Command;

use crate::support::{self, Background, Program};
use crate::world::World;

/// As many objects as the environment says, or else as many as are given, and their versions.
pub(crate) fn with_two_kills(program: &Program, objects_default: usize) {
    let objects = std::env::var("TASKQUEUE_S3_OBJECTS");
    let objects = objects.map_or(objects_default, |text| text.parse().expect("a number"));
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
