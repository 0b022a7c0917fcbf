//! Object stores that misbehave: lost responses, missing permissions, refusals, and requests that hang.

use std::io::Read as _;
use std::time::Instant;

use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::plans;
use crate::support::s3::{Act, Asked, FakeS3};
use crate::support::{Done, Place, exit, wait_for};

/// Time in seconds in which an interrupted command ends on a machine of any load: without the cancel the library waits
/// for three minutes.
const END: u64 = 30;

/// Writes `large.ndjson`, which is uploaded in three parts, and returns its contents.
fn large(place: &Place) -> Vec<u8> {
    let line = |i: usize| format!("{{\"id\":{i},\"text\":\"{}\"}}\n", "x".repeat(2000));
    let rows: String = (0..10_000).map(line).collect();
    assert!((17 << 20..24 << 20).contains(&rows.len()));
    place.write("large.ndjson", &rows);
    rows.into_bytes()
}

/// Writes `small.ndjson`, which is put in one request, and returns its contents.
fn small(place: &Place) -> Vec<u8> {
    let rows = b"{\"id\":1}\n".to_vec();
    place.write("small.ndjson", &rows);
    rows
}

/// Writes the input of this name, `large` or `small`, and returns its contents.
fn input(place: &Place, name: &str) -> Vec<u8> {
    match name {
        "large" => large(place),
        _ => small(place),
    }
}

/// The first request that does `what` gets `act`, all others are carried out.
fn first(what: &'static str, act: Act) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    move |asked| if asked.what == what && asked.nth == 0 { act.clone() } else { Act::Do }
}

/// Every request that does `what` gets `act`, all others are carried out.
fn every(what: &'static str, act: Act) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    move |asked| if asked.what == what { act.clone() } else { Act::Do }
}

const DENIED: Act = Act::Refuse(403, "AccessDenied", "Access Denied");

#[test]
fn a_key_is_what_was_typed() {
    let store = FakeS3::start(|_| Act::Do);
    let place = store.place();
    let rows = small(&place);
    let neighbours = ["data", "a/b.csv", "a.csv", "100", "a b.ndjson"];
    neighbours.iter().for_each(|key| store.put(key, b"mine"));
    for key in ["data#1.csv", "data?v=2.csv", "a%2Fb.csv", "100%.ndjson", "a%20b.ndjson", "ü#/é?.ndjson"] {
        place.run(&["convert", "small.ndjson", "-o", &format!("s3://b/{key}"), "--to", "ndjson"]).ok();
        assert_eq!(store.object(key), Some(rows.clone()), "{key}");
    }
    place.run_line("convert small.ndjson -o s3://b/d%2F#1?x/ --to ndjson").ok();
    assert_eq!(store.object("d%2F#1?x/part-00001.ndjson"), Some(rows));
    for key in ["/a.csv", "x//a.csv", "../a.csv", "x/../a.csv"] {
        let done = place.run(&["convert", "small.ndjson", "-o", &format!("s3://b/{key}")]);
        done.code(exit::CANNOT_WRITE).says("as they are");
    }
    for bucket in ["b?x", "b#x", "b%2Fx"] {
        let done = place.run(&["convert", "small.ndjson", "-o", &format!("s3://{bucket}/a.csv")]);
        done.code(exit::CANNOT_WRITE).says("no bucket");
    }
    for key in neighbours {
        assert_eq!(store.object(key).as_deref(), Some(&b"mine"[..]), "{key}");
    }
    assert_eq!(store.keys().len(), neighbours.len() + 6 + 3);
}

#[test]
fn a_lost_response_to_a_commit_is_settled_by_asking() {
    let acts = [Act::DoAndDrop, Act::DoAndRefuse(500, "InternalError"), Act::DoAndRefuse(503, "SlowDown")];
    for flag in ["", " --no-clobber"] {
        for act in &acts {
            for (name, what) in [("large", "complete"), ("small", "put")] {
                let store = FakeS3::start(first(what, act.clone()));
                let place = store.place();
                let rows = input(&place, name);
                place.run_line(&format!("convert {name}.ndjson -o s3://b/out.ndjson{flag}")).ok();
                assert!(store.object("out.ndjson").unwrap() == rows, "{act:?}{flag}");
                assert_eq!(store.open_uploads(), 0);
            }
        }
    }
}

#[test]
fn a_request_that_was_lost_is_sent_again() {
    for flag in ["", " --no-clobber"] {
        for (name, what, times) in
            [("large", "begin", 2), ("large", "part", 4), ("large", "complete", 2), ("small", "put", 2)]
        {
            for act in [Act::Drop, Act::Refuse(503, "SlowDown", "Reduce your rate")] {
                let store = FakeS3::start(first(what, act));
                let place = store.place();
                let rows = input(&place, name);
                place.run_line(&format!("convert {name}.ndjson -o s3://b/out.ndjson{flag}")).ok();
                assert!(store.object("out.ndjson").unwrap() == rows, "{what}{flag}");
                assert_eq!(store.log().iter().filter(|found| **found == what).count(), times, "{what}{flag}");
                assert_eq!(store.open_uploads(), 0);
            }
        }
    }
}

/// Takes a minute.
#[test]
fn a_slow_store_gets_each_part_once() {
    if !plans::all() {
        return;
    }
    let store = FakeS3::start(every("put", Act::Slowly(50_000)));
    let place = store.place();
    let rows = "{\"a\":1}\n".repeat((3 << 20) / 8);
    place.write("in.ndjson", &rows);
    place.run_line("convert in.ndjson -o s3://b/out.ndjson").ok();
    assert_eq!(store.object("out.ndjson").unwrap().len(), rows.len());
    assert_eq!(store.log(), ["probe", "put"]);
}

#[test]
fn a_commit_that_was_not_carried_out_is_an_error() {
    // An object that was there before is no success, of whatever size.
    for size in [0, 20_000_000] {
        let store = FakeS3::start(every("complete", Act::Refuse(404, "NoSuchUpload", "The upload does not exist")));
        let place = store.place();
        let rows = large(&place);
        let there = if size == 0 { b"there".to_vec() } else { vec![7; rows.len()] };
        store.put("out.ndjson", &there);
        let done = place.run_line("convert large.ndjson -o s3://b/out.ndjson").code(exit::CANNOT_WRITE);
        let done = done.says("the store refused to complete the upload: NoSuchUpload (404): The upload does not exist");
        assert!(!done.stderr.contains("must exist") && !done.stderr.contains("<Error>"), "{}", done.stderr);
        assert!(store.object("out.ndjson").unwrap() == there);
    }
}

#[test]
fn no_clobber_is_a_condition_of_the_store() {
    // The object appears after the looks at it, so only the store can know.
    for (name, what) in [("large", "complete"), ("small", "put")] {
        let store = FakeS3::start(every("head", Act::Refuse(404, "NoSuchKey", "")));
        let place = store.place();
        input(&place, name);
        store.put("out.ndjson", b"there");
        place
            .run_line(&format!("convert {name}.ndjson -o s3://b/out.ndjson --no-clobber"))
            .code(exit::CANNOT_WRITE)
            .says("already exists")
            .hints("--no-clobber");
        assert_eq!(store.object("out.ndjson").as_deref(), Some(&b"there"[..]));
        assert_eq!(store.open_uploads(), 0);
        let asked = store.asked().into_iter().find(|asked| asked.what == what).unwrap();
        assert_eq!(asked.headers["if-none-match"], "*");
    }
    // A store without conditions is asked just before.
    for (name, what) in [("large", "complete"), ("small", "put")] {
        let store = FakeS3::start(move |asked| match asked.headers.contains_key("if-none-match") {
            true if asked.what == what => Act::Refuse(501, "NotImplemented", "A header is not implemented"),
            _ => Act::Do,
        });
        let place = store.place();
        let rows = input(&place, name);
        place.run_line(&format!("convert {name}.ndjson -o s3://b/out.ndjson --no-clobber")).ok();
        assert!(store.object("out.ndjson").unwrap() == rows);
        assert_eq!(store.log().iter().filter(|found| **found == what).count(), 2, "a 501 is final");
        let done = place.run_line(&format!("convert {name}.ndjson -o s3://b/out.ndjson --no-clobber"));
        done.code(exit::CANNOT_WRITE).says("already exists");
    }
}

#[test]
fn the_check_demands_what_the_write_needs() {
    // A role that may put, but neither read nor abort.
    for flag in ["", " --no-clobber"] {
        let store = FakeS3::start(|asked| match asked.what {
            "head" | "get" | "abort" | "delete" => DENIED,
            _ => Act::Do,
        });
        let place = store.place();
        let (few, many) = (small(&place), large(&place));
        place.run_line(&format!("convert small.ndjson -o s3://b/small.ndjson{flag}")).ok();
        assert!(!store.log().contains(&"begin"), "{:?}", store.log());
        place.run_line(&format!("convert large.ndjson -o s3://b/large.ndjson{flag}")).ok();
        assert_eq!(store.object("small.ndjson"), Some(few));
        assert!(store.object("large.ndjson").unwrap() == many);
        assert_eq!(store.open_uploads(), 0);
    }
    // One that may not put, and a bucket that is missing, are known before anything is read.
    let store = FakeS3::start(every("probe", DENIED));
    let place = store.place();
    place
        .run_line("convert missing.ndjson -o s3://b/out.ndjson")
        .code(exit::CANNOT_WRITE)
        .says(
            "cannot write s3://b/out.ndjson: the store refused to write the object: AccessDenied (403): Access Denied",
        )
        .hints("s3:PutObject");
    assert_eq!(store.log(), ["probe"]);
    let store = FakeS3::start(every("probe", Act::Refuse(404, "NoSuchBucket", "The bucket does not exist")));
    let done = store.place().run_line("convert missing.ndjson -o s3://b/out/ --to csv").code(exit::CANNOT_WRITE);
    done.says("NoSuchBucket (404): The bucket does not exist").hints("create the bucket");
    let wrong = Act::Refuse(403, "SignatureDoesNotMatch", "The signature does not match");
    let store = FakeS3::start(every("probe", wrong));
    let done = store.place().run_line("convert missing.ndjson -o s3://b/out.csv").code(exit::CANNOT_WRITE);
    done.hints("AWS_SECRET_ACCESS_KEY");
    // A store without uploads in parts, and one that fails over one that does not exist.
    for act in [Act::Refuse(501, "NotImplemented", "No uploads"), Act::Refuse(500, "", "")] {
        let store = FakeS3::start(every("probe", act));
        let place = store.place();
        small(&place);
        place.run_line("convert small.ndjson -o s3://b/out.ndjson").ok();
    }
}

#[test]
fn missing_credentials_are_not_taken_for_a_refusal_of_the_store() {
    // The host that gives out credentials refuses, and then does not exist.
    for (provider, says) in [(true, "NoAccess (403): None for you"), (false, "Connection refused")] {
        let store = FakeS3::start(|_| Act::Refuse(403, "NoAccess", "None for you"));
        let provider = if provider { store.url() } else { "http://127.0.0.1:9".to_owned() };
        let place = Place::new().env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        let place = place.env("AWS_METADATA_ENDPOINT", &provider);
        let done = place.run_line("convert missing.ndjson -o s3://b/out.ndjson").code(exit::CANNOT_WRITE);
        done.says("cannot get credentials from 127.0.0.1").says(says).hints("AWS_ACCESS_KEY_ID");
    }
}

#[test]
fn what_remains_of_a_failed_upload_is_said() {
    for (act, says) in [(Act::Do, None), (DENIED, Some("AccessDenied (403): Access Denied"))] {
        let store = FakeS3::start(every("abort", act));
        let place = store.place();
        let mut rows = large(&place);
        rows.extend_from_slice(b"{broken\n");
        place.write("broken.ndjson", rows);
        let done = place.run_line("convert broken.ndjson -o s3://b/out.ndjson").code(exit::BAD_DATA);
        assert_eq!(store.keys(), [""; 0]);
        let remains = "parts of an incomplete upload of s3://b/out.ndjson remain";
        match says {
            None => assert!(store.open_uploads() == 0 && !done.stderr.contains("remain"), "{}", done.stderr),
            Some(says) => drop(done.says(remains).says(says)),
        }
    }
}

#[test]
fn an_encoding_that_a_store_hands_back_is_not_one_of_the_object() {
    let store = FakeS3::with_headers(&[("content-encoding", "aws-chunked")], |_| Act::Do);
    let place = store.place();
    small(&place);
    for _ in 0..2 {
        place.run_line("convert small.ndjson -o s3://b/d/ --to ndjson").ok();
    }
    assert_eq!(store.keys(), ["d/_SUCCESS", "d/_manifest.json", "d/part-00001.ndjson"]);
    assert!(store.log().contains(&"get"));
}

#[test]
fn a_refusal_is_shown_as_one_sentence() {
    let refusal = Act::Refuse(400, "EntityTooLarge", "Your proposed upload exceeds\n   the maximum &lt;size&gt;");
    let store = FakeS3::start(every("put", refusal));
    let place = store.place();
    small(&place);
    let done = place.run_line("convert small.ndjson -o s3://b/out.ndjson").code(exit::CANNOT_WRITE);
    assert_eq!(
        done.stderr.lines().collect::<Vec<_>>(),
        ["error: cannot write s3://b/out.ndjson: the store refused to write the object: EntityTooLarge (400): Your \
          proposed upload exceeds the maximum <size>"]
    );
    assert_eq!(store.log(), ["probe", "put"]);
}

/// Starts a conversion of `file`, interrupts it when the store has the request `what`, and returns its end.
fn interrupted(store: &FakeS3, place: &Place, file: &str, what: &'static str) -> Done {
    let args = ["convert", file, "-o", "s3://b/out.ndjson"];
    let child = place.command(&args).spawn().unwrap();
    let pid = Pid::from_child(&child);
    store.wait_for(what);
    kill_process(pid, Signal::TERM).unwrap();
    let start = Instant::now();
    let done = Done::of_child(format!("{args:?}"), child);
    assert!(start.elapsed().as_secs() < END, "{what}: the end took {:?}", start.elapsed());
    done.code(exit::INTERRUPTED)
}

#[test]
fn a_store_that_hangs_does_not_hold_up_an_interruption() {
    // Without uploads in the store there is nothing to say.
    for (what, name) in [("probe", "small"), ("put", "small"), ("begin", "large")] {
        let store = FakeS3::start(every(what, Act::Hang));
        let place = store.place();
        input(&place, name);
        let done = interrupted(&store, &place, &format!("{name}.ndjson"), what);
        assert!(!done.stderr.contains("warning:"), "{what}\n{}", done.stderr);
        assert_eq!(store.keys(), [""; 0]);
    }
    for what in ["part", "complete"] {
        // The store takes the abort.
        let store = FakeS3::start(every(what, Act::Hang));
        let place = store.place();
        large(&place);
        let done = interrupted(&store, &place, "large.ndjson", what);
        assert!(!done.stderr.contains("warning:"), "{what}\n{}", done.stderr);
        assert_eq!((store.keys().len(), store.open_uploads()), (0, 0), "{what}");
        // It hangs there, too.
        let store = FakeS3::start(move |asked| match asked.what {
            "abort" => Act::Hang,
            found if found == what => Act::Hang,
            _ => Act::Do,
        });
        let place = store.place();
        large(&place);
        let done = interrupted(&store, &place, "large.ndjson", what);
        done.says("parts of an incomplete upload of s3://b/out.ndjson remain in the store (the store did not respond");
    }
    // Nor does it say whether it completed the upload.
    let store = FakeS3::start(|asked| match asked.what {
        "complete" | "head" => Act::Hang,
        "abort" => Act::Refuse(404, "NoSuchUpload", "The upload does not exist"),
        _ => Act::Do,
    });
    let place = store.place();
    large(&place);
    interrupted(&store, &place, "large.ndjson", "complete").says("it is unknown whether s3://b/out.ndjson was written");
}

#[test]
fn an_interrupted_directory_is_said_to_be_incomplete() {
    let store = FakeS3::start(|asked| match asked.key.as_str() {
        "d/_manifest.json" if asked.what == "put" => Act::Hang,
        _ => Act::Do,
    });
    let place = store.place();
    small(&place);
    let args = ["convert", "small.ndjson", "-o", "s3://b/d/", "--to", "ndjson"];
    let child = place.command(&args).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let hangs = || store.asked().iter().any(|asked| asked.what == "put" && asked.key == "d/_manifest.json");
    wait_for("the manifest", || hangs().then_some(()));
    kill_process(pid, Signal::TERM).unwrap();
    let done = Done::of_child(format!("{args:?}"), child).code(exit::INTERRUPTED);
    done.says("s3://b/d/ may hold files of an incomplete output");
    assert_eq!(store.keys(), ["d/.drawoff-journal.json", "d/part-00001.ndjson"]);
}

#[test]
fn a_pipe_that_blocks_leaves_no_upload_unsaid() {
    let store = FakeS3::start(|_| Act::Do);
    let place = store.place();
    large(&place);
    let args = ["convert", "large.ndjson", "-o", "s3://b/out.ndjson", "-o", "-"];
    let mut child = place.command(&args).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut vec![0; 12 << 20]).unwrap();
    store.wait_for("part");
    // Nothing reads the rest, so that the writer gets stuck in the pipe.
    let size = fcntl_getpipe_size(&stdout).unwrap() as u64;
    wait_for("the pipe to be full", || (ioctl_fionread(&stdout).unwrap() > size / 2).then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let done = Done::of_child(format!("{args:?}"), child).code(exit::INTERRUPTED);
    // It has aborted its upload only if the signal came before it was stuck.
    let remains = "warning: the parts of an incomplete upload of s3://b/out.ndjson remain in the store";
    assert_eq!(done.stderr.contains(remains), store.open_uploads() == 1, "{}", done.stderr);
    assert_eq!(store.keys(), [""; 0]);
}
