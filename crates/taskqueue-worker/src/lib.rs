//! Worker of taskqueue: dispatch, execution, settling, heartbeats, maintenance, shutdown.
