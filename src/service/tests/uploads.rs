//! Uploads: what is taken, what is refused, and that nothing is left of the latter.

use reqwest::Method;
use reqwest::multipart::{Form, Part};

use super::{Answer, Local};

async fn send(local: &Local, form: Form) -> Answer {
    let request = local.request(Method::POST, "/storage/csv/upload").multipart(form);
    Answer::read(request.send().await.unwrap()).await
}

fn part(name: &str, content: &[u8]) -> Part {
    Part::bytes(content.to_vec()).file_name(name.to_owned())
}

fn kept(local: &Local) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(local.data().join("uploads")).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_kept_as_it_is() {
    let local = Local::start().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
    let answer = send(&local, Form::new().text("note", "x").part("file", part("Big.NDJSON", &content))).await.ok();
    assert_eq!(answer["handle_id"].as_str().unwrap().len(), 36);
    assert_eq!(kept(&local), [content]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let local = Local::start_with(|config| config.max_upload_bytes = 1000).await;
    for name in ["a.txt", "a", "csv", "a.csv.gz", ""] {
        let text = send(&local, Form::new().part("file", part(name, b"a\n1\n"))).await.refused(400);
        assert!(text.contains(".csv, .json, .jsonl, .ndjson"), "{name}: {text}");
    }
    let two = Form::new().part("file", part("a.csv", b"a\n")).part("more", part("b.csv", b"b\n"));
    assert!(send(&local, two).await.refused(422).contains("exactly one file part"));
    let other_name = Form::new().part("data", part("a.csv", b"a\n"));
    assert!(send(&local, other_name).await.refused(422).contains("body.file"));
    assert!(send(&local, Form::new().text("file", "a\n1\n")).await.refused(422).contains("body.file"));
    let large = send(&local, Form::new().part("file", part("a.csv", &[b'x'; 300_000]))).await;
    assert!(large.refused(413).contains("1000 bytes"));
    let no_form = local.request(Method::POST, "/storage/csv/upload").body("a,b\n").send().await.unwrap();
    assert!(Answer::read(no_form).await.refused(422).contains("body.file"));
    let cut = local
        .request(Method::POST, "/storage/csv/upload")
        .header("content-type", "multipart/form-data; boundary=XX")
        .body("--XX\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nx,y\n");
    assert!(Answer::read(cut.send().await.unwrap()).await.refused(400).contains("form"));
    assert!(kept(&local).is_empty());
}
