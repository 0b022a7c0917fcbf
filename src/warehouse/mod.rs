//! Tables as targets.

#[cfg(feature = "postgres")]
pub mod postgres;
