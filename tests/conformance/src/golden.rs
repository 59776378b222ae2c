//! Golden files: what a backend's statements render to, so that a change of one is seen. It knows no statement.

use std::path::Path;

/// Asserts that each text is what `NAME.sql` in `folder` says, and that no other file is there. With `UPDATE_GOLDEN`
/// set, the files are written first.
///
/// # Panics
/// When they differ, when a file is left over, and when the folder cannot be read or written.
pub fn assert_golden(folder: &Path, texts: Vec<(&'static str, String)>) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<String> = Vec::new();
    for (name, text) in texts {
        let path = folder.join(format!("{name}.sql"));
        let text = text + "\n";
        if update {
            std::fs::create_dir_all(folder).expect("the folder can be made");
            std::fs::write(&path, &text).expect("the file can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(golden, text, "{name}: if the change is meant, run again with UPDATE_GOLDEN=1");
        names.push(format!("{name}.sql"));
    }
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let files = files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
    let stale: Vec<String> = files.filter(|file| !names.contains(file)).collect();
    assert_eq!(stale, [""; 0], "golden files of no statement");
}
