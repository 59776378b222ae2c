//! The payloads of the ready-made task types, with the JSON names that producers in other languages share.
//! Unknown names are ignored; those marked optional are left out when empty and may be absent.

use serde::{Deserialize, Serialize};

use crate::Payload;
