//! Tests of whole commands: they run the built binary and check exit code, output and files. One module per theme;
//! `support` documents the environment variables of the tests.

#![allow(unreachable_pub, reason = "a program of its own has no users of its items")]

mod support;

mod bulk;
#[cfg(feature = "clickhouse")]
mod clickhouse_edges;
#[cfg(feature = "clickhouse")]
mod clickhouse_loads;
mod columnar_input;
mod commands;
mod completions;
mod contract;
mod convert;
#[cfg(feature = "object-store")]
mod copy_into;
#[cfg(feature = "object-store")]
mod copy_into_edges;
mod csv_dialect;
mod csv_input;
mod csv_rules;
#[cfg(feature = "delta")]
mod delta;
#[cfg(all(feature = "delta", feature = "object-store"))]
mod delta_store;
#[cfg(feature = "delta")]
mod delta_tables;
mod docs;
mod failures;
mod first_minute;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod fixed_tables;
mod floors;
#[cfg(feature = "iceberg")]
mod iceberg;
#[cfg(feature = "iceberg")]
mod iceberg_rest;
#[cfg(feature = "iceberg")]
mod iceberg_tables;
mod kills;
mod late_types;
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod load_chunks;
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod load_messages;
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod load_sets;
mod look;
mod main_job;
mod many_runs;
mod memory;
mod network;
mod one_meaning;
mod output_names;
mod page;
mod page_guard;
mod page_parts;
mod parquet_readers;
mod parts;
#[cfg(feature = "postgres")]
mod postgres_connection;
#[cfg(feature = "postgres")]
mod postgres_edges;
#[cfg(feature = "postgres")]
mod postgres_loads;
#[cfg(feature = "postgres")]
mod postgres_tls;
mod recipes;
mod request_log;
mod result_file;
mod roundtrip;
#[cfg(any(feature = "delta", feature = "iceberg"))]
mod sail;
mod scale;
#[cfg(all(feature = "postgres", feature = "delta"))]
mod scale_kills;
mod scale_recipes;
mod schedulers;
mod schema;
mod secrets;
mod service;
mod service_guard;
mod service_kills;
mod service_load;
mod service_observe;
mod service_proxy;
mod service_results;
mod service_seeds;
mod signals;
mod sinks;
mod soak;
mod sort_hint;
mod sources;
mod sql;
mod sql_exact;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_edges;
mod start_doubts;
mod starts;
mod state;
mod steps;
mod stores;
#[cfg(feature = "sqlite")]
mod sync;
mod targets;
#[cfg(feature = "opentelemetry")]
mod telemetry;
mod tls;
mod tree;
#[cfg(all(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod value_meaning;
mod webhooks;
mod written_forms;
