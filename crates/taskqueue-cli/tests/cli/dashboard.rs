//! `dashboard`: what it serves of a SQLite file, who gets in, and how it ends.

use std::io::{Read, Write};

use crate::support::{Background, Program};

/// What a request is answered: the status, and all that follows.
fn ask(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    (answer[9..12].parse().expect("a status"), answer)
}

/// Starts it at a free port; where it listens.
fn serve(program: &Program, options: &[&str]) -> (Background, String) {
    let args = [&["dashboard", "--listen", "127.0.0.1:0"], options].concat();
    let mut background = Background::start(program.command(&args));
    let line = background.wait_for("dashboard of taskqueue.db");
    let (_, address) = line.split_once("http://").expect("it says where");
    (background, address.trim_end_matches('/').to_owned())
}

#[test]
fn the_dashboard_shows_a_file_and_acts_only_where_that_is_allowed() {
    let program = Program::new();
    let id = program.enqueue("mail", r#"{"to":"ada"}"#);
    let cancel = format!("/tasks/{id}/cancel");
    let (read_only, address) = serve(&program, &[]);
    let own = format!("host: {address}\r\nsec-fetch-site: same-origin\r\n");
    let (status, page) = ask(&address, "GET", "/overview", &own);
    assert!(status == 200 && page.contains("sqlite 3.") && page.contains("tasks?type=mail"), "{page}");
    assert_eq!(ask(&address, "GET", &format!("/tasks/{id}"), &own).0, 200);
    assert_eq!(ask(&address, "POST", &cancel, &own).0, 403);
    assert_eq!(ask(&address, "GET", "/overview", "host: evil.example\r\n").0, 403);
    read_only.signal("TERM");
    assert_eq!(read_only.wait(), (0, String::new()));
    assert_eq!(program.status(&id), "pending");
    let (acting, address) = serve(&program, &["--allow-actions"]);
    let own = format!("host: {address}\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(ask(&address, "POST", &cancel, &own).0, 303);
    acting.signal("INT");
    assert_eq!(acting.wait().0, 0);
    assert_eq!(program.status(&id), "cancelled");
}

#[test]
fn a_password_comes_from_a_file_and_lets_programs_in_as_a_token() {
    let program = Program::new();
    program.enqueue("mail", r#"{"to":"hunter2"}"#);
    program.file("dashboard.secret", "open sesame\n");
    let options = ["--password-file", "dashboard.secret", "--redact", "from, to"];
    let (dashboard, address) = serve(&program, &options);
    assert_eq!(ask(&address, "GET", "/api/tasks", "host: queue.example\r\n").0, 401);
    let token = "host: queue.example\r\nauthorization: Bearer open sesame\r\n";
    let (status, answer) = ask(&address, "GET", "/api/tasks", token);
    assert!(status == 200 && answer.contains(r#"{"to":"[redacted]"}"#), "{answer}");
    dashboard.signal("TERM");
    assert_eq!(dashboard.wait().0, 0);
}

#[test]
fn a_dashboard_that_cannot_be_served_safely_is_refused() {
    let program = Program::new();
    program.run(&["dashboard"]).refused(3, "there is no database at taskqueue.db");
    program.enqueue("mail", "1");
    program.run(&["dashboard", "--listen", "0.0.0.0:0"]).refused(2, "so it needs a password");
    program.file("dashboard.secret", "short");
    program
        .run(&["dashboard", "--password-file", "dashboard.secret"])
        .refused(2, "password is shorter than 8 bytes");
    program.run(&["dashboard", "--password-file", "missing"]).refused(3, "cannot read missing");
    program.run(&["dashboard", "--query-timeout", "0s"]).refused(2, "--query-timeout is zero");
    program.run(&["dashboard", "--redact", ""]).refused(2, "--redact has an empty name");
    let size = program.run(&["dashboard", "--page-size", "0"]).stderr;
    assert!(size.contains("'--page-size <TASKS>'") && size.contains("1 to 200"), "{size}");
}
