//! Starts a run and reads its results as Arrow batches. With `drawoff serve` on this machine in place of an account:
//!
//! ```sh
//! cargo run --example pull_batches -- http://127.0.0.1:8064 testdata/workflows/webhook-leads.json testdata/leads.json
//! ```

#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;

use drawoff::client::{Client, IdempotencyKey, PullOptions, ResultFormat, StartOptions};
use drawoff::pipeline::read_batches;
use drawoff::secret::ApiKey;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let [endpoint, workflow, payload] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: pull_batches ENDPOINT WORKFLOW PAYLOAD".into());
    };
    let key = std::env::var("SIXTYFOUR_API_KEY").unwrap_or_else(|_| "local".into());
    let client = Client::connect(endpoint.parse()?, Some(ApiKey::new(&key)));

    let workflow = client.resolve_workflow(workflow).await?;
    let payload = serde_json::from_str(&std::fs::read_to_string(payload)?)?;
    // Every repetition of a start carries its key, so that the run is started once.
    let key = IdempotencyKey::fresh("pull_batches");
    let start = StartOptions { input: None, payload: Some(payload), formats: vec![ResultFormat::Ndjson], key };
    let run = client.start(&workflow.id, &start).await?.run;

    let plan = client.pull(&run, &PullOptions::default()).await?;
    // The runtime carries the downloads; parsing has threads of its own and blocks.
    let rows = tokio::task::spawn_blocking(move || {
        read_batches(plan)?.try_fold(0, |rows, batch| Ok::<_, drawoff::pipeline::Error>(rows + batch?.num_rows()))
    });
    println!("run {run}: {} rows", rows.await??);
    Ok(())
}
