//! The behaviours that every backend of taskqueue must have, as a suite.
