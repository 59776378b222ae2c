//! Which of a test program's tests are a backend's: by the module they stand in, or by how their names begin. It runs
//! none.

use crate::backends::{BACKENDS, Backend, VARIANT};
use crate::counts;
use crate::programs::ON_SERVER;

/// Which tests of a program are a backend's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// What the program is told, so that it runs these and no others.
    pub(crate) filter: Vec<String>,
    pub(crate) count: u64,
}

impl Own {
    /// Those in the module of the backend's engine; where no engine has a module, all, and they are of the engine that
    /// the crate is named for.
    pub(crate) fn of_target(listed: &str, module: &str, package: &str) -> Option<Self> {
        let of =
            |module: &str| listed.lines().filter(|line| line.starts_with(&format!("{module}::"))).collect();
        let own: Vec<&str> = of(module);
        if !own.is_empty() {
            let count = counts::of_list(&own.join("\n"));
            return Some(Self { filter: vec![format!("{module}::")], count });
        }
        let has_modules = BACKENDS.iter().any(|backend| backend.conforms() && !of(backend.module).is_empty());
        let own = Self { filter: Vec::new(), count: counts::of_list(listed) };
        (!has_modules && is_named_for(package, module)).then_some(own)
    }

    /// Those of the suite as it is, without its repetition on a table of three shards.
    pub(crate) fn without_variant(self, listed: &str) -> Self {
        let variant = format!("::{VARIANT}::");
        let is_own = |line: &&str| {
            self.filter.first().is_none_or(|module| line.starts_with(module.as_str()))
                && line.contains(&variant)
        };
        let left_out: Vec<_> = listed.lines().filter(is_own).collect();
        let count = self.count - counts::of_list(&left_out.join("\n"));
        let skip = ["--skip".to_owned(), variant];
        Self { filter: self.filter.into_iter().chain(skip).collect(), count }
    }

    /// Of a library's, those that need a server and whose names begin with the backend's engine; of those that name no
    /// engine, all, where the crate is named for it.
    pub(crate) fn of_library(listed: &str, backend: &Backend) -> Option<Self> {
        let is_named_for = is_named_for(backend.package, backend.module);
        let is_own = |name: &str| {
            let claim = name.rsplit("::").next().unwrap_or_default();
            let begins = |engine: &str| claim.starts_with(&format!("{engine}_"));
            let names_none = || !BACKENDS.iter().any(|other| other.conforms() && begins(other.module));
            begins(backend.module) || (is_named_for && names_none())
        };
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let own: Vec<_> = names.filter(|name| name.starts_with(ON_SERVER) && is_own(name)).collect();
        let count = own.len() as u64;
        let exact = std::iter::once("--exact").chain(own).map(str::to_owned);
        (count > 0).then(|| Self { filter: exact.collect(), count })
    }
}

/// Whether the crate is named for this engine, so that what names none is of it.
fn is_named_for(package: &str, module: &str) -> bool {
    package.strip_prefix("taskqueue-") == Some(module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends;

    #[test]
    fn the_variant_is_left_out_and_not_counted() {
        let listed = "mariadb::a: test\nmariadb::three_shards::a: test\nmysql::a: test\n";
        let own = Own::of_target(listed, "mariadb", "taskqueue-mysql").map(|own| own.without_variant(listed));
        let filter = ["mariadb::", "--skip", "::three_shards::"].map(str::to_owned).to_vec();
        assert_eq!(own, Some(Own { filter, count: 1 }));
    }

    #[test]
    fn the_tests_of_an_engine_are_those_in_its_module() {
        let own = |listed, module, package| Own::of_target(listed, module, package).map(|own| own.filter);
        let split = "mysql::a: test\nmariadb::a: test\n";
        assert_eq!(own(split, "mariadb", "taskqueue-mysql"), Some(vec!["mariadb::".to_owned()]));
        assert_eq!(own(split, "vitess", "taskqueue-mysql"), None);
        let whole = "enqueue::a: test\n";
        assert_eq!(own(whole, "postgres", "taskqueue-postgres"), Some(Vec::new()));
        assert_eq!(own(whole, "cockroach", "taskqueue-postgres"), None);
    }

    #[test]
    fn of_a_library_only_what_needs_this_server_is_run_on_it() {
        let listed = "wire::a: test\non_server::plans::mysql_b: test\non_server::plans::mariadb_b: test\n";
        let own = Own::of_library(listed, backends::named("mysql").unwrap()).unwrap();
        assert_eq!(
            (own.filter, own.count),
            (vec!["--exact".to_owned(), "on_server::plans::mysql_b".to_owned()], 1)
        );
        assert_eq!(Own::of_library("wire::a: test\n", backends::named("mysql").unwrap()), None);
    }

    #[test]
    fn a_librarys_tests_that_name_no_engine_are_of_the_one_that_its_crate_is_named_for() {
        let listed = "on_server::plans::a_claim_sorts_nothing: test\n";
        let count = |name| Own::of_library(listed, backends::named(name).unwrap()).map(|own| own.count);
        assert_eq!((count("postgres"), count("mysql")), (Some(1), Some(1)));
        assert_eq!((count("cockroach"), count("vitess"), count("mariadb")), (None, None, None));
    }
}
