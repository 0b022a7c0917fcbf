//! Tests of the resolver that need no server.

use super::*;
