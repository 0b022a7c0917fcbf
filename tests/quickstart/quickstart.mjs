// The Workflows API from Node (18 or later): upload a file, run a workflow on it, wait, list the
// links, download.
//
//   SIXTYFOUR_API_ENDPOINT   base URL, such as https://api.sixtyfour.ai
//   SIXTYFOUR_API_KEY        API key
//   WORKFLOW_ID              a workflow that starts with read_csv
//   INPUT                    the file to upload
//   OUTPUT                   where the final block's rows go, as NDJSON
//   POLL_SECONDS             between two looks at the run (5)
//
// Ends with 0 when the run completed and its rows are there.
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

const { SIXTYFOUR_API_ENDPOINT, SIXTYFOUR_API_KEY, WORKFLOW_ID, INPUT, OUTPUT } = process.env;
const base = SIXTYFOUR_API_ENDPOINT.replace(/\/$/, "");
const terminal = new Set(["completed", "failed", "cancelled", "timeout"]);

async function call(pathOrUrl, options = {}) {
  const response = await fetch(new URL(pathOrUrl, base), {
    ...options,
    headers: { ...options.headers, "x-api-key": SIXTYFOUR_API_KEY },
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response;
}

const form = new FormData();
form.append("file", new Blob([await readFile(INPUT)]), basename(INPUT));
const { handle_id } = await (await call("/storage/csv/upload", { method: "POST", body: form })).json();
console.log(`uploaded: ${handle_id}`);

const query = new URLSearchParams({ workflow_id: WORKFLOW_ID, result_formats: "ndjson" });
const started = await call(`/workflows/run?${query}`, {
  method: "POST",
  headers: { "content-type": "application/json", "idempotency-key": `quickstart-${handle_id}` },
  body: JSON.stringify({ specs_override: { resource_handle_id: handle_id } }),
});
const { job_id: runId } = await started.json();
console.log(`started: ${runId}`);

let live;
let status;
for (;;) {
  live = await (await call(`/workflows/runs/${runId}/live_status`)).json();
  status = live.overall_status.toLowerCase();
  console.log(`status: ${status} ${live.overall_progress_percentage}%`);
  if (terminal.has(status)) break;
  await sleep(1000 * Number(process.env.POLL_SECONDS ?? 5));
}
if (status !== "completed") {
  for (const block of live.blocks) {
    if (block.error_message) console.error(`${block.block_name}: ${block.error_message}`);
  }
  process.exit(1);
}

const links = await (await call(`/workflows/runs/${runId}/results/download-links?format=ndjson`)).json();
for (const link of links) {
  console.log(`link: block ${link.block_number} ${link.filename} ${link.row_count} rows`);
}

// One link per block; the highest number is the final one. The key goes to the download too.
const final = links.reduce((a, b) => (b.block_number > a.block_number ? b : a));
const body = Readable.fromWeb((await call(final.download_url)).body);
let rows = 0;
body.on("data", (chunk) => {
  for (const byte of chunk) if (byte === 10) rows += 1;
});
await pipeline(body, createWriteStream(OUTPUT));
console.log(`rows: ${rows}`);
