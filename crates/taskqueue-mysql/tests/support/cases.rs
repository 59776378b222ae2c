//! One test of each case on each engine. It knows no behaviour.

/// Makes a test of each case for MySQL and one for MariaDB, or for the engine that is named.
macro_rules! on {
    ($engine:ident, $server:expr, $($name:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($server).await;
                }
            )*
        }
    };
    ($($name:ident)*) => {
        crate::cases::on! { mysql, crate::support::MYSQL, $($name)* }
        crate::cases::on! { mariadb, crate::support::MARIADB, $($name)* }
    };
}
pub(crate) use on;
