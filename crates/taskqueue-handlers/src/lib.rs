//! Ready-made task handlers of taskqueue.
