//! The suite, run on its own specification.

use taskqueue_conformance::ModelHarness;

taskqueue_conformance::suite!(ModelHarness);
